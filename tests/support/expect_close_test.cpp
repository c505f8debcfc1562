#include "support/expect_close.hpp"

#include <limits>

#include <ATen/ATen.h>

namespace vpd::testing {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

at::Tensor values(std::initializer_list<double> x) { return at::tensor(std::vector<double>(x), at::kDouble); }

TEST(IsClose, TakesWhatIsWithinTheTolerance) {
  EXPECT_TRUE(is_close(values({1.0, -2.0}), values({1.0, -2.0}), {}, "x"));
  EXPECT_TRUE(is_close(values({1.09}), values({1.0}), {0.0, 0.1}, "x"));
  EXPECT_TRUE(is_close(values({-109.0}), values({-100.0}), {0.1, 0.0}, "x"));
  EXPECT_TRUE(is_close(values({}), values({}), {}, "x"));
}

TEST(IsClose, RejectsWhatIsBeyondIt) {
  EXPECT_FALSE(is_close(values({1.11}), values({1.0}), {0.0, 0.1}, "x"));
  EXPECT_FALSE(is_close(values({0.89}), values({1.0}), {0.0, 0.1}, "x"));
  EXPECT_FALSE(is_close(values({-111.0}), values({-100.0}), {0.1, 0.0}, "x"));
  EXPECT_FALSE(is_close(values({1.0}), values({1.0 + 1e-15}), {}, "x"));
}

TEST(IsClose, RejectsWrongSigns) {
  EXPECT_FALSE(is_close(values({-1.0}), values({1.0}), {0.5, 0.5}, "x"));
  EXPECT_FALSE(is_close(values({1.0}), values({-1.0}), {0.5, 0.5}, "x"));
  EXPECT_FALSE(is_close(values({-1.0}), values({-3.0}), {0.1, 0.1}, "x"));
}

TEST(IsClose, RejectsWhatIsNotFinite) {
  const Tolerance generous{1e9, 1e9};
  EXPECT_FALSE(is_close(values({nan}), values({1.0}), generous, "x"));
  EXPECT_FALSE(is_close(values({1.0}), values({nan}), generous, "x"));
  EXPECT_FALSE(is_close(values({nan}), values({nan}), generous, "x"));
  EXPECT_FALSE(is_close(values({infinity}), values({infinity}), generous, "x"));
  EXPECT_FALSE(is_close(values({infinity}), values({1.0}), generous, "x"));
  EXPECT_FALSE(is_close(values({1.0}), values({-infinity}), generous, "x"));
}

TEST(IsClose, RejectsOtherShapesAndDtypes) {
  EXPECT_FALSE(is_close(values({1.0, 2.0}), values({1.0}), {}, "x"));
  EXPECT_FALSE(is_close(values({1.0, 2.0}), values({1.0, 2.0}).view({1, 2}), {}, "x"));
  EXPECT_FALSE(is_close(values({1.0}).to(at::kFloat), values({1.0}), {}, "x"));
  EXPECT_FALSE(is_close(at::Tensor(), values({1.0}), {}, "x"));
  EXPECT_FALSE(is_close(values({1.0}), at::Tensor(), {}, "x"));
}

TEST(IsClose, NamesTheWorstElement) {
  const at::Tensor expected = at::zeros({2, 3}, at::kDouble);
  at::Tensor actual = expected.clone();
  actual[0][1] = 0.5;
  actual[1][2] = -2.0;
  const std::string message = is_close(actual, expected, {0.0, 0.1}, "masks").message();
  EXPECT_NE(message.find("masks: worst at [1, 2]: expected 0, found -2"), std::string::npos) << message;
  EXPECT_NE(message.find("2 of 6 elements fail"), std::string::npos) << message;
  actual[0][0] = nan;
  const std::string with_nan = is_close(actual, expected, {0.0, 0.1}, "masks").message();
  EXPECT_NE(with_nan.find("worst at [0, 0]: expected 0, found nan"), std::string::npos) << with_nan;
}

TEST(IsClose, ReadsViews) {
  const at::Tensor x = at::arange(6, at::kDouble).view({2, 3});
  EXPECT_TRUE(is_close(x.t(), x.t().contiguous(), {}, "x"));
  EXPECT_FALSE(is_close(x.t(), x.view({3, 2}), {}, "x"));
}

TEST(IsIdentical, ComparesEveryElement) {
  EXPECT_TRUE(is_identical(values({1.0, 2.0}), values({1.0, 2.0}), "x"));
  EXPECT_FALSE(is_identical(values({1.0, 2.0}), values({1.0}), "x"));
  EXPECT_FALSE(is_identical(values({1.0}).to(at::kFloat), values({1.0}), "x"));
  const std::string message = is_identical(values({1.0, 2.0}), values({1.0, 3.0}), "x").message();
  EXPECT_NE(message.find("first difference at [1]: expected 3, found 2"), std::string::npos) << message;
}

TEST(Rounding, CountsTheStoredTypeOnce) {
  EXPECT_EQ(rounding(at::kFloat, 4, 2.0).relative, 0.0);
  EXPECT_EQ(rounding(at::kFloat, 4, 2.0).absolute, 8.0 * 0x1p-23);
  EXPECT_EQ(rounding(at::kFloat, 4, 2.0, at::kBFloat16).relative, 0x1p-7);
  EXPECT_EQ(epsilon(at::kDouble), 0x1p-52);
}

}  // namespace
}  // namespace vpd::testing
