#include "vpd/kernels/swiglu.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "dispatch.hpp"
#include "swiglu_kernel.hpp"

namespace vpd {
namespace {

SwigluParams common(const at::Tensor& gate, const at::Tensor& up) {
  SwigluParams p;
  p.type = element_type(gate, "SwiGLU: gate");
  VPD_CHECK(gate.is_contiguous() && up.is_contiguous() && gate.sizes() == up.sizes() &&
                gate.scalar_type() == up.scalar_type(),
            UsageError, "SwiGLU: expected gate and up contiguous and alike, found {} {} elements and {} {}",
            gate.numel(), at::toString(gate.scalar_type()), up.numel(), at::toString(up.scalar_type()));
  p.count = gate.numel(), p.gate = gate.const_data_ptr(), p.up = up.const_data_ptr();
  return p;
}

}  // namespace

at::Tensor swiglu_forward(const at::Tensor& gate, const at::Tensor& up) {
  SwigluParams p = common(gate, up);
  const at::NoGradGuard no_grad;
  if (!gate.is_cpu()) return at::silu(gate).mul_(up);
  at::Tensor out = at::empty_like(gate);
  p.out = out.mutable_data_ptr();
  swiglu_forward_cpu(p);
  return out;
}

SwigluGradients swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate, const at::Tensor& up) {
  SwigluParams p = common(gate, up);
  VPD_CHECK(gradient.is_contiguous() && gradient.sizes() == gate.sizes() &&
                gradient.scalar_type() == gate.scalar_type(),
            UsageError, "SwiGLU: expected a contiguous gradient of {} {} elements, found {} of {}",
            gate.numel(), at::toString(gate.scalar_type()), gradient.numel(),
            at::toString(gradient.scalar_type()));
  const at::NoGradGuard no_grad;
  if (!gate.is_cpu()) return {at::silu_backward(at::mul(gradient, up), gate), at::silu(gate).mul_(gradient)};
  SwigluGradients out{at::empty_like(gate), at::empty_like(up)};
  p.gradient = gradient.const_data_ptr();
  p.gate_gradient = out.gate.mutable_data_ptr(), p.up_gradient = out.up.mutable_data_ptr();
  swiglu_backward_cpu(p);
  return out;
}

}  // namespace vpd
