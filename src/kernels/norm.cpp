#include "vpd/kernels/norm.hpp"

#include <ATen/ATen.h>

#include "column_sums.hpp"
#include "dispatch.hpp"
#include "norm_kernel.hpp"
#include "on_device.hpp"

namespace vpd {
namespace {

NormParams common(const at::Tensor& x, const at::Tensor& weight) {
  NormParams p;
  p.rows = x.size(0), p.columns = x.size(1);
  p.type = element_type(x, "RMSNorm: x");
  check_matrix(x, p.rows, p.columns, x.scalar_type(), "RMSNorm: x");
  p.x = x.const_data_ptr(), p.x_stride = x.stride(0);
  if (weight.defined()) {
    VPD_CHECK(weight.is_contiguous() && weight.numel() == p.columns &&
                  weight.scalar_type() == wide_type(x.scalar_type()),
              UsageError, "RMSNorm: expected a weight of {} {} elements, found {} of {}", p.columns,
              at::toString(wide_type(x.scalar_type())), weight.numel(), at::toString(weight.scalar_type()));
    p.weight = weight.const_data_ptr();
  }
  return p;
}

/// Beside x: contiguous and of its shape.
void check_beside(const at::Tensor& other, const at::Tensor& x, at::ScalarType type, const char* what) {
  check_matrix(other, x.size(0), x.size(1), type, what);
  VPD_CHECK(other.is_contiguous(), UsageError, "{}: expected a contiguous matrix, found rows {} apart", what,
            other.stride(0));
}

at::Tensor forward(NormParams p, const at::Tensor& x, const at::Tensor& weight, double eps,
                   at::ScalarType output, at::Tensor* reciprocal, const at::Tensor& out,
                   const at::Tensor& added, const at::Tensor& sum) {
  at::Tensor y = out.defined() ? out : at::empty({p.rows, p.columns}, x.options().dtype(output));
  check_matrix(y, p.rows, p.columns, output, "RMSNorm: out");
  VPD_CHECK((output == at::kDouble) == (x.scalar_type() == at::kDouble), UsageError,
            "RMSNorm: expected float64 on both sides or on neither");
  p.output_type = element_type(y, "RMSNorm: out");
  p.eps = eps, p.out = y.mutable_data_ptr(), p.out_stride = y.stride(0);
  if (reciprocal) {
    *reciprocal = at::empty({p.rows}, x.options().dtype(wide_type(x.scalar_type())));
    p.reciprocal = reciprocal->mutable_data_ptr();
  }
  on_device(
      {x, weight, y, added, sum}, [&] { rms_norm_forward_cpu(p); },
      [&](void* stream) { rms_norm_forward_cuda(p, stream); });
  return y;
}

at::Tensor backward(NormParams p, const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& reciprocal, const at::Tensor& weight_gradient,
                    const at::Tensor& sum_gradient, const at::Tensor& added_gradient) {
  check_matrix(gradient, p.rows, p.columns, gradient.scalar_type(), "RMSNorm: gradient");
  p.output_type = element_type(gradient, "RMSNorm: gradient");
  const at::ScalarType wide = wide_type(x.scalar_type());
  VPD_CHECK((gradient.scalar_type() == at::kDouble) == (x.scalar_type() == at::kDouble), UsageError,
            "RMSNorm: expected float64 on both sides or on neither");
  p.gradient = gradient.const_data_ptr(), p.gradient_stride = gradient.stride(0);
  VPD_CHECK(reciprocal.is_contiguous() && reciprocal.numel() == p.rows && reciprocal.scalar_type() == wide,
            UsageError, "RMSNorm: expected the forward pass's {} reciprocals of {} rows, found {} of {}",
            at::toString(wide), p.rows, reciprocal.numel(), at::toString(reciprocal.scalar_type()));
  p.reciprocal = reciprocal.mutable_data_ptr();
  at::Tensor dx = at::empty({p.rows, p.columns}, x.options());
  p.x_gradient = dx.mutable_data_ptr();
  if (weight_gradient.defined()) {
    VPD_CHECK(weight_gradient.is_contiguous() && weight_gradient.numel() == p.columns &&
                  weight_gradient.scalar_type() == wide,
              UsageError, "RMSNorm: expected a gradient of {} {} weights, found {} of {}", p.columns,
              at::toString(wide), weight_gradient.numel(), at::toString(weight_gradient.scalar_type()));
    p.weight_gradient = weight_gradient.mutable_data_ptr();
  }
  on_device(
      {x, weight, gradient, reciprocal, weight_gradient, sum_gradient, added_gradient},
      [&] { rms_norm_backward_cpu(p); },
      [&](void* stream) {
        at::Tensor workspace;
        if (p.weight_gradient) {
          workspace =
              at::empty({column_sum_groups(p.rows, p.columns), p.columns}, x.options().dtype(at::kDouble));
          p.workspace = workspace.mutable_data_ptr<double>();
        }
        rms_norm_backward_cuda(p, stream);
      });
  return dx;
}

}  // namespace

at::Tensor rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType output,
                            at::Tensor* reciprocal, const at::Tensor& out) {
  return forward(common(x, weight), x, weight, eps, output, reciprocal, out, {}, {});
}

at::Tensor add_rms_norm_forward(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight,
                                double eps, at::ScalarType output, at::Tensor* reciprocal, at::Tensor& sum) {
  NormParams p = common(x, weight);
  check_beside(added, x, output, "RMSNorm: what is added");
  VPD_CHECK(output != at::kFloat || x.scalar_type() == at::kFloat, UsageError,
            "RMSNorm: expected what is added to be no wider than {}, found {}", at::toString(x.scalar_type()),
            at::toString(output));
  sum = at::empty({p.rows, p.columns}, x.options());
  p.added = added.const_data_ptr(), p.sum = sum.mutable_data_ptr();
  return forward(p, x, weight, eps, output, reciprocal, {}, added, sum);
}

at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& reciprocal, const at::Tensor& weight_gradient) {
  return backward(common(x, weight), gradient, x, weight, reciprocal, weight_gradient, {}, {});
}

AddNormGradients add_rms_norm_backward(const at::Tensor& gradient, const at::Tensor& sum_gradient,
                                       const at::Tensor& sum, const at::Tensor& weight,
                                       const at::Tensor& reciprocal, const at::Tensor& weight_gradient) {
  NormParams p = common(sum, weight);
  if (sum_gradient.defined()) {
    check_beside(sum_gradient, sum, sum.scalar_type(), "RMSNorm: the sum's gradient");
    p.sum_gradient = sum_gradient.const_data_ptr();
  }
  AddNormGradients out;
  if (gradient.scalar_type() != sum.scalar_type()) {
    out.added = at::empty({p.rows, p.columns}, gradient.options());
    p.added_gradient = out.added.mutable_data_ptr();
  }
  out.x = backward(p, gradient, sum, weight, reciprocal, weight_gradient, sum_gradient, out.added);
  if (!out.added.defined()) out.added = out.x;
  return out;
}

}  // namespace vpd
