#include "vpd/ops/head_kl.hpp"

#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class HeadKlTest : public DeviceTest {
 protected:
  static at::Tensor reference(const at::Tensor& target, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& bias) {
    at::Tensor logits = at::matmul(x, weight.t());
    if (bias.defined()) logits = logits + bias;
    const at::Tensor log_p = target.log_softmax(1), log_q = logits.log_softmax(1);
    return (log_p.exp() * (log_p - log_q)).sum();
  }
};

// N, d, V. The last ones take several chunks, one of them with a tail.
const std::vector<std::vector<std::int64_t>> head_kl_shapes = {{1, 1, 1},    {1, 3, 2},      {7, 5, 31},
                                                               {64, 8, 100}, {200, 4, 8192}, {131, 3, 50277}};

TEST_P(HeadKlTest, IsTheFormula) {
  for (const auto& shape : head_kl_shapes) {
    for (const bool biased : {false, true}) {
      const std::int64_t N = shape[0], d = shape[1], V = shape[2];
      SCOPED_TRACE(::testing::Message() << N << " x " << d << " x " << V << (biased ? " biased" : ""));
      const at::Tensor target = real(uniform_values({N, V}, 1, -2.0, 2.0));
      const at::Tensor x = real(uniform_values({N, d}, 2)), weight = real(uniform_values({V, d}, 3));
      const at::Tensor bias = biased ? real(uniform_values({V}, 4)) : at::Tensor();
      const double scale = 0.25;
      const at::Tensor leaf = exact(x).clone().requires_grad_(true);
      const at::Tensor sum =
          reference(exact(target), leaf, exact(weight), biased ? exact(bias) : at::Tensor());
      (sum * scale).backward();

      const HeadKlResult result = kl_through_head(target, x, weight, bias, true, scale);
      const auto n = static_cast<double>(N), v = static_cast<double>(V), width = static_cast<double>(d);
      const double roundings = 16.0 + std::sqrt(v) + width;
      // Logits of the product are stored in the type of activations.
      expect_close(result.sum, sum.detach(), rounding(dtype(), roundings * n, 3.0 + width), "sum");
      expect_close(result.gradient, leaf.grad().to(dtype()),
                   rounding(dtype(), roundings, scale * (3.0 + width)), "gradient");

      const HeadKlResult value = kl_through_head(target, x, weight, bias, false, scale);
      expect_identical(value.sum, result.sum, "sum without a gradient");
      EXPECT_FALSE(value.gradient.defined());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, HeadKlTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(HeadKl, GradientIsThatOfCentralDifferences) {
  const at::Tensor target = uniform_values({70, 11}, 1, -2.0, 2.0), weight = uniform_values({11, 4}, 2);
  const at::Tensor x = uniform_values({70, 4}, 3);
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        return kl_through_head(target, in[0], weight, {}, false, 1.0).sum;
      },
      {x}, {kl_through_head(target, x, weight, {}, true, 1.0).gradient}, "x");
}

TEST(HeadKl, ChunksFollowTheVocabulary) {
  EXPECT_EQ(head_kl_rows(at::kCPU, at::kFloat, 1024), 512);
  EXPECT_EQ(head_kl_rows(at::kCPU, at::kDouble, 1024), 256);
  EXPECT_EQ(head_kl_rows(at::kCPU, at::kFloat, 50277), 64);
  // Half a GiB, whatever the type.
  EXPECT_EQ(head_kl_rows(at::Device("cuda"), at::kBFloat16, 50277), (1 << 28) / 50277);
  EXPECT_EQ(head_kl_rows(at::Device("cuda"), at::kFloat, 50277), (1 << 27) / 50277);
}

TEST(HeadKl, RefusesTargetsOfAnotherShape) {
  const at::Tensor x = uniform_values({2, 4}, 3), weight = uniform_values({11, 4}, 2);
  EXPECT_THROW(kl_through_head(uniform_values({2, 10}, 1), x, weight, {}, false, 1.0), UsageError);
}

}  // namespace
}  // namespace vpd
