#include "vpd/kernels/layer_norm.hpp"

#include <tuple>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "dispatch.hpp"
#include "layer_norm_kernel.hpp"

namespace vpd {
namespace {

void check_vector(const at::Tensor& vector, const LayerNormParams& p, at::ScalarType type, const char* what) {
  VPD_CHECK(vector.is_contiguous() && vector.numel() == p.columns && vector.scalar_type() == type, UsageError,
            "LayerNorm: expected a {} of {} {} elements, found {} of {}", what, p.columns, at::toString(type),
            vector.numel(), at::toString(vector.scalar_type()));
}

LayerNormParams common(const at::Tensor& x, const at::Tensor& weight) {
  LayerNormParams p;
  p.rows = x.size(0), p.columns = x.size(1);
  VPD_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble, UsageError,
            "LayerNorm: expected float32 or float64 rows, found {}", at::toString(x.scalar_type()));
  p.type = element_type(x, "LayerNorm: x");
  check_matrix(x, p.rows, p.columns, x.scalar_type(), "LayerNorm: x");
  check_vector(weight, p, x.scalar_type(), "weight");
  p.x = x.const_data_ptr(), p.x_stride = x.stride(0), p.weight = weight.const_data_ptr();
  return p;
}

void check_pair(const at::Tensor& x, at::ScalarType output) {
  VPD_CHECK((output == at::kDouble) == (x.scalar_type() == at::kDouble), UsageError,
            "LayerNorm: expected float64 on both sides or on neither");
}

}  // namespace

at::Tensor layer_norm_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              double eps, at::ScalarType output, LayerNormStatistics* statistics) {
  LayerNormParams p = common(x, weight);
  check_vector(bias, p, x.scalar_type(), "bias");
  check_pair(x, output);
  const at::NoGradGuard no_grad;
  if (!x.is_cpu()) {
    auto [y, mean, reciprocal] = at::native_layer_norm(x, {p.columns}, weight, bias, eps);
    if (statistics) *statistics = {mean.view({p.rows}), reciprocal.view({p.rows})};
    return y.to(output);
  }
  at::Tensor y = at::empty({p.rows, p.columns}, x.options().dtype(output));
  p.output_type = element_type(y, "LayerNorm: out");
  p.bias = bias.const_data_ptr(), p.eps = eps, p.out = y.mutable_data_ptr();
  if (statistics) {
    *statistics = {at::empty({p.rows}, x.options()), at::empty({p.rows}, x.options())};
    p.mean = statistics->mean.mutable_data_ptr(), p.reciprocal = statistics->reciprocal.mutable_data_ptr();
  }
  layer_norm_forward_cpu(p);
  return y;
}

at::Tensor layer_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                               const LayerNormStatistics& statistics) {
  LayerNormParams p = common(x, weight);
  check_matrix(gradient, p.rows, p.columns, gradient.scalar_type(), "LayerNorm: gradient");
  check_pair(x, gradient.scalar_type());
  VPD_CHECK(statistics.mean.defined() && statistics.mean.numel() == p.rows &&
                statistics.reciprocal.numel() == p.rows,
            UsageError, "LayerNorm: expected the forward pass's statistics of {} rows", p.rows);
  const at::NoGradGuard no_grad;
  if (!x.is_cpu()) {
    return std::get<0>(at::native_layer_norm_backward(gradient.to(x.scalar_type()), x, {p.columns},
                                                      statistics.mean, statistics.reciprocal, weight,
                                                      /*bias=*/{}, {true, false, false}));
  }
  at::Tensor dx = at::empty({p.rows, p.columns}, x.options());
  p.output_type = element_type(gradient, "LayerNorm: gradient");
  p.mean = statistics.mean.mutable_data_ptr(), p.reciprocal = statistics.reciprocal.mutable_data_ptr();
  p.gradient = gradient.const_data_ptr(), p.gradient_stride = gradient.stride(0);
  p.x_gradient = dx.mutable_data_ptr();
  layer_norm_backward_cpu(p);
  return dx;
}

}  // namespace vpd
