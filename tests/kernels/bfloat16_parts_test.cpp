#include "vpd/kernels/bfloat16_parts.hpp"

#include <array>
#include <cmath>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class BFloat16PartsTest : public DeviceTest {
 protected:
  static at::Tensor sum(const BFloat16Parts& x) {
    at::Tensor total = at::zeros(x.parts.front().sizes(), at::kDouble);
    for (const at::Tensor& part : x.parts) total.add_(exact(part));
    return total;
  }
};

TEST_P(BFloat16PartsTest, AddUpToTheMatrix) {
  const at::Tensor x = broad(uniform_values({37, 53}, 1)), of = exact(x);
  for (int count = 1; count <= 3; ++count) {
    const BFloat16Parts split = bfloat16_parts(x, count);
    ASSERT_EQ(split.parts.size(), static_cast<std::size_t>(count));
    const at::Tensor left_over = (sum(split) - of).abs();
    // Rounded to nearest, a part leaves over half a unit in the last of its 8 places.
    EXPECT_TRUE(left_over.le(of.abs() * std::exp2(-8.0 * count)).all().item<bool>()) << count << " parts";
    expect_identical(split.t().parts.back(), split.parts.back().t(), "transposed");
  }
  EXPECT_TRUE(at::equal(sum(bfloat16_parts(x, 3)), of)) << "three parts hold 24 bits";
}

TEST_P(BFloat16PartsTest, OfDifferencesInOnePass) {
  for (const auto& [M, N] : {std::array<std::int64_t, 2>{1, 1}, {3, 7}, {5, 64}, {31, 1030}}) {
    const at::Tensor a = broad(uniform_values({M, N}, 1)), b = broad(uniform_values({N, M}, 2)).t();
    const at::Tensor apart = exact(a.sub(b)), scaled = exact(a.sub(b).mul(3.0f));
    for (int count = 0; count <= 3; ++count) {
      SCOPED_TRACE(::testing::Message() << M << " x " << N << ", " << count << " parts");
      const DifferenceParts split = difference_parts(a, b, 3.0, count);
      const double squares = apart.square().sum().item<double>();
      EXPECT_NEAR(split.squares.item<double>(), squares, 1e-13 * squares);
      ASSERT_EQ(split.parts.parts.size(), static_cast<std::size_t>(count));
      if (count > 0) {
        const at::Tensor left_over = (sum(split.parts) - scaled).abs();
        EXPECT_TRUE(left_over.le(scaled.abs() * std::exp2(-8.0 * count)).all().item<bool>());
      }
    }
  }
}

TEST_P(BFloat16PartsTest, ProductsAreThoseOfFloat32) {
  for (const auto& [M, K, N] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {3, 1, 5}, {17, 31, 13}, {64, 480, 80}}) {
    const at::Tensor a = broad(uniform_values({K, M}, 1)), b = broad(uniform_values({N, K}, 2));
    const BFloat16Parts a_parts = bfloat16_parts(a, 3).t(), b_parts = bfloat16_parts(b, 3).t();
    const at::Tensor expected = at::mm(exact(a).t(), exact(b).t()), before = broad(uniform_values({M, N}, 3));
    const auto k = static_cast<double>(K);
    for (int orders = 1; orders <= 3; ++orders) {
      // Each of K products is at most 1 and off by what the orders leave out; float32 sums round each.
      const Tolerance tolerance{0.0,
                                k * (orders + 1) * std::exp2(-8.0 * orders) + 8 * k * epsilon(at::kFloat)};
      at::Tensor out = before.clone();
      parts_product_into(out, a_parts, b_parts, orders, /*accumulate=*/true);
      expect_close(out, (expected + exact(before)).to(at::kFloat), tolerance, "sum");
      parts_product_into(out, a_parts, b_parts, orders, /*accumulate=*/false);
      expect_close(out, expected.to(at::kFloat), tolerance, "product");
    }
  }
}

TEST_P(BFloat16PartsTest, SaysWhatIsWrong) {
  const at::Tensor x = broad(uniform_values({2, 2}, 1));
  expect_usage_error([&] { bfloat16_parts(x.to(at::kDouble), 2); }, "contiguous float32 matrices");
  expect_usage_error([&] { bfloat16_parts(x.narrow(1, 0, 1), 2); }, "contiguous float32 matrices");
  expect_usage_error([&] { bfloat16_parts(x, 0); }, "1 to 3 parts");
  expect_usage_error([&] { bfloat16_parts(x, 4); }, "1 to 3 parts");
  expect_usage_error([&] { difference_parts(x, x.narrow(0, 0, 1), 1.0, 1); }, "of one shape");
  const BFloat16Parts one = bfloat16_parts(x, 1), two = bfloat16_parts(x, 2);
  expect_usage_error([&] { parts_product_into(x, one, two, 2, false); }, "2 parts of each factor");
  expect_usage_error([&] { parts_product_into(x.to(at::kDouble), one, two, 1, false); }, "a float32 sum");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, BFloat16PartsTest, ::testing::ValuesIn(device_cases({at::kFloat})),
                         device_case_name);

}  // namespace
}  // namespace vpd
