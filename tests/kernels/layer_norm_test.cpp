#include "vpd/kernels/layer_norm.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/ops/differentiable.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

const std::vector<std::pair<std::int64_t, std::int64_t>> layer_norm_shapes = {
    {1, 1}, {1, 3}, {3, 8}, {5, 13}, {67, 64}, {131, 37}, {3, 768}, {2, 2053}};
constexpr double layer_norm_eps = 1e-5;

at::Tensor layer_norm_reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor centred = x - x.mean(1, true);
  return centred / (centred.square().mean(1, true) + layer_norm_eps).sqrt() * weight + bias;
}

/// dtype() is that of the output; x, weight and bias are wide.
class LayerNormTest : public DeviceTest {
 protected:
  template <class Check>
  void for_each_case(const Check& check) {
    for (const auto& [N, d] : layer_norm_shapes) {
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(::testing::Message() << N << " x " << d << (strided ? " strided" : ""));
        const at::Tensor x = broad(uniform_values({N, d}, 1, -2.0, 4.0));  // far from centred
        check(strided ? column_slice(x) : x, broad(uniform_values({d}, 2, 0.5, 1.5)),
              broad(uniform_values({d}, 3)));
      }
    }
  }

  /// Of a row: how far its values reach once they are divided by its spread.
  double reach(const at::Tensor& x) const {
    const at::Tensor centred = exact(x) - exact(x).mean(1, true);
    return 4.0 / std::sqrt(centred.square().mean(1).min().item<double>() + layer_norm_eps);
  }
};

TEST_P(LayerNormTest, ForwardIsTheFormula) {
  for_each_case([&](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor expected = layer_norm_reference(exact(x), exact(weight), exact(bias));
    const double d = static_cast<double>(x.size(1));
    LayerNormStatistics statistics;
    const at::Tensor y = layer_norm_forward(x, weight, bias, layer_norm_eps, dtype(), &statistics);
    expect_close(y, expected.to(dtype()), rounding(wide(), 16 + std::sqrt(d), 2.0 + reach(x), dtype()), "y");
    expect_close(statistics.mean, exact(x).mean(1).to(wide()), rounding(wide(), 4 + std::sqrt(d), 4.0),
                 "mean");
    expect_identical(layer_norm_forward(x, weight, bias, layer_norm_eps, dtype(), nullptr), y,
                     "without statistics");
  });
}

TEST_P(LayerNormTest, BackwardIsTheGradient) {
  for_each_case([&](const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
    const at::Tensor gradient = real(uniform_values(x.sizes(), 4));
    const at::Tensor leaf = exact(x).clone().requires_grad_(true);
    (layer_norm_reference(leaf, exact(weight), exact(bias)) * exact(gradient)).sum().backward();
    LayerNormStatistics statistics;
    layer_norm_forward(x, weight, bias, layer_norm_eps, dtype(), &statistics);
    const double d = static_cast<double>(x.size(1));
    const double magnitude = 2.0 * std::max(1.0, std::pow(reach(x), 2.0));
    expect_close(layer_norm_backward(gradient, x, weight, statistics), leaf.grad().to(wide()),
                 rounding(wide(), 32 + std::sqrt(d), magnitude), "dx");
  });
}

TEST_P(LayerNormTest, RowsOfOneValueAreHeldUpByEps) {
  const at::Tensor x = broad(at::full({2, 16}, 3.0, at::kDouble)), bias = broad(uniform_values({16}, 1));
  expect_close(layer_norm_forward(x, broad(at::ones({16})), bias, layer_norm_eps, dtype(), nullptr),
               real(bias.to(at::kDouble)).expand({2, 16}), {0.0, 1e-2 * epsilon(dtype())}, "y");
}

TEST_P(LayerNormTest, SaysWhatIsWrong) {
  const at::Tensor x = broad(uniform_values({3, 4}, 1)), w = broad(at::ones({4}));
  LayerNormStatistics statistics;
  layer_norm_forward(x, w, w, layer_norm_eps, dtype(), &statistics);
  const at::ScalarType other = dtype() == at::kDouble ? at::kFloat : at::kDouble;
  expect_usage_error([&] { layer_norm_forward(x.to(at::kBFloat16), w, w, layer_norm_eps, dtype(), nullptr); },
                     "float32 or float64 rows");
  expect_usage_error([&] { layer_norm_forward(x.t(), w, w, layer_norm_eps, dtype(), nullptr); },
                     "LayerNorm: x: expected");
  expect_usage_error([&] { layer_norm_forward(x, w.narrow(0, 0, 3), w, layer_norm_eps, dtype(), nullptr); },
                     "a weight of 4");
  expect_usage_error([&] { layer_norm_forward(x, w, w.to(other), layer_norm_eps, dtype(), nullptr); },
                     "a bias of 4");
  expect_usage_error([&] { layer_norm_forward(x, w, w, layer_norm_eps, other, nullptr); },
                     "float64 on both sides or on neither");
  expect_usage_error([&] { layer_norm_backward(x.to(other), x, w, statistics); },
                     "float64 on both sides or on neither");
  expect_usage_error([&] { layer_norm_backward(x.narrow(0, 0, 2), x, w, statistics); },
                     "LayerNorm: gradient: expected");
  expect_usage_error([&] { layer_norm_backward(x, x, w, {}); }, "statistics of 3 rows");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, LayerNormTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(LayerNormGradient, IsTheSlope) {
  const at::Tensor x = uniform_values({3, 5}, 1), w = uniform_values({5}, 2), b = uniform_values({5}, 3),
                   dy = uniform_values({3, 5}, 4);
  LayerNormStatistics statistics;
  layer_norm_forward(x, w, b, layer_norm_eps, at::kDouble, &statistics);
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        return (layer_norm_forward(in[0], w, b, layer_norm_eps, at::kDouble, nullptr) * dy).sum();
      },
      {x}, {layer_norm_backward(dy, x, w, statistics)}, "x");
}

TEST(LayerNormGradient, GoesThroughTheGraph) {
  const at::Tensor w = uniform_values({5}, 2), b = uniform_values({5}, 3), dy = uniform_values({3, 5}, 4);
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        return (layer_norm(in[0], w, b, layer_norm_eps, at::kDouble) * dy).sum();
      },
      {uniform_values({3, 5}, 1)}, "x");
}

}  // namespace
}  // namespace vpd
