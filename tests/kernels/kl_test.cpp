#include "vpd/kernels/kl.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

const std::vector<std::pair<std::int64_t, std::int64_t>> kl_shapes = {
    {1, 1}, {1, 2}, {3, 7}, {5, 8}, {7, 31}, {4, 64}, {2, 513}, {3, 1000}, {2, 5003}, {1, 50277}};

/// dtype() is that of the prediction.
class KlTest : public DeviceTest {
 protected:
  static at::Tensor reference(const at::Tensor& target, const at::Tensor& prediction) {
    const at::Tensor log_p = target.log_softmax(1), log_q = prediction.log_softmax(1);
    return (log_p.exp() * (log_p - log_q)).sum();
  }

  std::vector<at::ScalarType> target_types() const {
    if (dtype() == at::kDouble) return {at::kDouble};
    return {at::kFloat, at::kBFloat16};
  }

  void check(const at::Tensor& target, const at::Tensor& prediction, bool in_place, double largest) {
    const double scale = 0.125;
    const at::Tensor leaf = exact(prediction).clone().requires_grad_(true);
    const at::Tensor sum = reference(exact(target), leaf);
    (sum * scale).backward();
    const auto N = static_cast<double>(target.size(0)), V = static_cast<double>(target.size(1));
    const KlResult result = kl_from_logits(target, prediction, true, scale, in_place);
    // Sums of V positive terms, differences of logits up to 2 `largest`.
    const double roundings = 16.0 + std::sqrt(V);
    expect_close(result.sum, sum.detach(), rounding(wide(), roundings * N, 1.0 + largest), "sum");
    expect_close(result.gradient, leaf.grad().to(dtype()),
                 rounding(wide(), roundings, scale * largest, dtype()), "gradient");
  }
};

TEST_P(KlTest, IsTheFormula) {
  for (const auto& [N, V] : kl_shapes) {
    for (const at::ScalarType target_type : target_types()) {
      for (const bool strided : {false, true}) {
        for (const bool in_place : {false, true}) {
          SCOPED_TRACE(::testing::Message() << N << " x " << V << " target " << toString(target_type)
                                            << (strided ? " strided" : "") << (in_place ? " in place" : ""));
          at::Tensor target = uniform_values({N, V}, 1, -4.0, 4.0).to(device(), target_type);
          at::Tensor prediction = real(uniform_values({N, V}, 2, -4.0, 4.0));
          if (strided) target = column_slice(target), prediction = column_slice(prediction);
          check(target, prediction, in_place, 4.0);
          if (strided) {
            EXPECT_TRUE(surroundings_are_untouched(prediction));
          }
        }
      }
    }
  }
}

// The target alone, the prediction alone off the 16-byte boundaries.
TEST_P(KlTest, SidesMayBeAlignedDifferently) {
  const at::Tensor target = real(uniform_values({4, 203}, 1, -4.0, 4.0)),
                   prediction = real(uniform_values({4, 203}, 2, -4.0, 4.0));
  check(column_slice(target), prediction, false, 4.0);
  check(target, column_slice(prediction), false, 4.0);
  check(target, column_slice(prediction), true, 4.0);
}

TEST_P(KlTest, LargeLogitsDoNotOverflow) {
  at::Tensor target = uniform_values({3, 300}, 1, -4.0, 4.0),
             prediction = uniform_values({3, 300}, 2, -4.0, 4.0);
  target[0][299] = 90.0, prediction[0][150] = 90.0;  // what online sums meet late
  target[1][0] = 90.0, prediction[1][0] = 90.0;
  target[2].add_(1000.0), prediction[2].sub_(1000.0);  // a shift of a row changes nothing
  if (dtype() == at::kBFloat16) target = target.to(at::kBFloat16), prediction = prediction.to(at::kBFloat16);
  check(real(target), real(prediction), false, 100.0);
}

TEST_P(KlTest, IsZeroForEqualLogits) {
  const at::Tensor x = real(uniform_values({5, 77}, 1, -4.0, 4.0));
  const KlResult result = kl_from_logits(x, x, true, 1.0, false);
  expect_close(result.sum, at::zeros({}, at::kDouble), rounding(wide(), 4, 1.0), "sum");
  expect_close(result.gradient, at::zeros_like(x), rounding(wide(), 4, 1.0), "gradient");
}

TEST_P(KlTest, SmallDivergencesKeepTheirDigits) {
  const at::Tensor target = uniform_values({8, 500}, 1, -4.0, 4.0);
  const at::Tensor a = broad(target), b = broad(target + uniform_values({8, 500}, 2, -1e-2, 1e-2));
  const double expected = reference(exact(a), exact(b)).item<double>();
  ASSERT_LT(expected, 8 * 1e-4);
  EXPECT_NEAR(kl_from_logits(a, b, false, 1.0, false).sum.item<double>(), expected, 8 * 64 * epsilon(wide()));
}

TEST_P(KlTest, GivesOnlyWhatIsWanted) {
  const at::Tensor target = real(uniform_values({2, 9}, 1)), prediction = real(uniform_values({2, 9}, 2));
  const at::Tensor before = prediction.clone();
  const KlResult result = kl_from_logits(target, prediction, false, 1.0, true);
  EXPECT_FALSE(result.gradient.defined());
  expect_identical(prediction, before, "prediction");
  const KlResult in_place = kl_from_logits(target, prediction, true, 1.0, true);
  EXPECT_EQ(in_place.gradient.data_ptr(), prediction.data_ptr());
  EXPECT_EQ(
      kl_from_logits(target.narrow(0, 0, 0), prediction.narrow(0, 0, 0), true, 1.0, false).sum.item<double>(),
      0.0);
}

TEST_P(KlTest, NotANumberComesThrough) {
  const at::Tensor target = real(uniform_values({2, 40}, 1)), prediction = real(uniform_values({2, 40}, 2));
  for (const std::int64_t place : {0, 17, 39}) {
    at::Tensor broken = prediction.clone();
    broken[1][place].fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_TRUE(std::isnan(kl_from_logits(target, broken, false, 1.0, false).sum.item<double>())) << place;
    EXPECT_TRUE(std::isnan(kl_from_logits(broken, prediction, false, 1.0, false).sum.item<double>()))
        << place;
  }
}

TEST_P(KlTest, SaysWhatIsWrong) {
  const at::Tensor x = real(uniform_values({3, 4}, 1));
  const at::Tensor other = x.to(dtype() == at::kDouble ? at::kFloat : at::kDouble);
  expect_usage_error([&] { kl_from_logits(other, x, false, 1.0, false); },
                     "float64 logits on both sides or on neither");
  expect_usage_error([&] { kl_from_logits(x.narrow(1, 0, 3), x, false, 1.0, false); },
                     "KL: target: expected");
  expect_usage_error([&] { kl_from_logits(x.to(at::kMeta), x, false, 1.0, false); }, "on one device");
  expect_usage_error([&] { kl_from_logits(x, x.t(), false, 1.0, false); }, "KL: prediction: expected");
  expect_usage_error([&] { kl_from_logits(x.to(at::kHalf), x, false, 1.0, false); },
                     "KL: target: expected float32");
  expect_usage_error([&] { kl_from_logits(x.narrow(1, 0, 0), x.narrow(1, 0, 0), false, 1.0, false); },
                     "at least one logit");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, KlTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(KlGradient, IsTheSlope) {
  const at::Tensor target = uniform_values({3, 6}, 1, -2.0, 2.0),
                   prediction = uniform_values({3, 6}, 2, -2.0, 2.0);
  const KlResult result = kl_from_logits(target, prediction, true, 0.5, false);
  check_gradient(
      [&](const std::vector<at::Tensor>& x) {
        return kl_from_logits(target, x[0], false, 1.0, false).sum * 0.5;
      },
      {prediction}, {result.gradient}, "prediction");
}

}  // namespace
}  // namespace vpd
