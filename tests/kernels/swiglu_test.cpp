#include "vpd/kernels/swiglu.hpp"

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

const std::vector<std::pair<std::int64_t, std::int64_t>> swiglu_shapes = {
    {0, 4}, {1, 1}, {3, 7}, {13, 17}, {128, 257}};

at::Tensor swiglu_reference(const at::Tensor& gate, const at::Tensor& up) {
  return gate * gate.sigmoid() * up;
}

class SwigluTest : public DeviceTest {};

TEST_P(SwigluTest, IsTheFormulaAndItsGradient) {
  for (const auto& [N, d] : swiglu_shapes) {
    SCOPED_TRACE(::testing::Message() << N << " x " << d);
    const at::Tensor gate = real(uniform_values({N, d}, 1, -6.0, 6.0)), up = real(uniform_values({N, d}, 2)),
                     dy = real(uniform_values({N, d}, 3));
    const at::Tensor gate_leaf = exact(gate).clone().requires_grad_(true),
                     up_leaf = exact(up).clone().requires_grad_(true);
    const at::Tensor expected = swiglu_reference(gate_leaf, up_leaf);
    (expected * exact(dy)).sum().backward();
    // bfloat16 on CUDA rounds silu(gate) once more, in LibTorch's own operation.
    const double roundings = device().is_cuda() && dtype() == at::kBFloat16 ? 4.0 : 12.0;
    const Tolerance tolerance = device().is_cuda() && dtype() == at::kBFloat16
                                    ? rounding(at::kBFloat16, roundings, 6.0)
                                    : rounding(wide(), roundings, 6.0, dtype());
    expect_close(swiglu_forward(gate, up), expected.detach().to(dtype()), tolerance, "y");
    const SwigluGradients gradients = swiglu_backward(dy, gate, up);
    expect_close(gradients.gate, gate_leaf.grad().to(dtype()), tolerance, "dgate");
    expect_close(gradients.up, up_leaf.grad().to(dtype()), tolerance, "dup");
  }
}

TEST_P(SwigluTest, FarFromZeroItIsNothingOrTheProduct) {
  const at::Tensor gate = real(at::tensor({-1e4, 1e4}, at::kDouble).view({1, 2})),
                   up = real(at::full({1, 2}, 2.0, at::kDouble));
  expect_close(swiglu_forward(gate, up), real(at::tensor({0.0, 2e4}, at::kDouble).view({1, 2})),
               {epsilon(dtype())}, "y");
  expect_close(swiglu_backward(up, gate, up).gate, real(at::tensor({0.0, 4.0}, at::kDouble).view({1, 2})),
               {epsilon(dtype())}, "dgate");
}

TEST_P(SwigluTest, SaysWhatIsWrong) {
  const at::Tensor x = real(uniform_values({3, 4}, 1));
  expect_usage_error([&] { swiglu_forward(x.to(at::kHalf), x); }, "SwiGLU: gate: expected float32");
  expect_usage_error([&] { swiglu_forward(x, x.narrow(1, 0, 3).contiguous()); }, "gate and up");
  expect_usage_error([&] { swiglu_forward(x.t(), x.t()); }, "contiguous and alike");
  expect_usage_error([&] { swiglu_backward(x.narrow(0, 0, 2), x, x); }, "gradient of 12");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, SwigluTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(SwigluGradient, IsTheSlope) {
  const at::Tensor gate = uniform_values({3, 5}, 1, -3.0, 3.0), up = uniform_values({3, 5}, 2),
                   dy = uniform_values({3, 5}, 3);
  const SwigluGradients gradients = swiglu_backward(dy, gate, up);
  check_gradient([&](const std::vector<at::Tensor>& in) { return (swiglu_forward(in[0], in[1]) * dy).sum(); },
                 {gate, up}, {gradients.gate, gradients.up}, "gate, up");
}

TEST(SwigluGradient, GoesThroughTheGraph) {
  const at::Tensor dy = uniform_values({3, 5}, 3);
  check_gradient([&](const std::vector<at::Tensor>& in) { return (swiglu(in[0], in[1]) * dy).sum(); },
                 {uniform_values({3, 5}, 1, -3.0, 3.0), uniform_values({3, 5}, 2)}, "gate, up");
}

}  // namespace
}  // namespace vpd
