#include "vpd/kernels/squash.hpp"

#include <ATen/ATen.h>

#include "column_sums.hpp"
#include "dispatch.hpp"
#include "on_device.hpp"
#include "squash_kernel.hpp"

namespace vpd {
namespace {

/// Without these a slope at 0 has no value. What is read late cannot be looked at here.
void check(const Penalty& penalty) {
  if (penalty.kind == PenaltyKind::power) {
    VPD_CHECK(penalty.eps > 0.0, UsageError, "penalty: expected eps above 0, found {}", penalty.eps);
  } else {
    const double gamma = penalty.gamma.value;
    VPD_CHECK(penalty.gamma.address || gamma > 0.0, UsageError, "penalty: expected gamma above 0, found {}",
              gamma);
  }
}

}  // namespace

at::Tensor penalty_sums(const at::Tensor& z, const Penalty& penalty) {
  PenaltySumsParams params;
  params.type = element_type(z, "penalty sums: z");
  check_matrix(z, z.size(0), z.size(1), z.scalar_type(), "penalty sums: z");
  check(penalty);
  at::Tensor sums = at::zeros({z.size(1)}, z.options().dtype(at::kDouble));
  params.rows = z.size(0), params.columns = z.size(1), params.z = z.const_data_ptr(),
  params.z_stride = z.stride(0);
  params.slope = leaky_slope, params.penalty = penalty, params.sums = sums.mutable_data_ptr<double>();
  on_device(
      {z}, [&] { penalty_sums_cpu(params); },
      [&](void* stream) {
        const at::Tensor workspace =
            at::empty({column_sum_groups(params.rows, params.columns), params.columns}, sums.options());
        params.workspace = workspace.mutable_data_ptr<double>();
        penalty_sums_cuda(params, stream);
      });
  return sums;
}

at::Tensor squash_backward(const at::Tensor& z, const at::Tensor& lower_gradient,
                           const PenaltyGradient* penalties, int count, const at::Tensor& active) {
  SquashBackwardParams p;
  p.type = element_type(z, "squash backward: z");
  VPD_CHECK(count >= 0 && count <= most_penalties, UsageError,
            "squash backward: expected at most {} penalties, found {}", most_penalties, count);
  VPD_CHECK(z.dim() == 2 && z.is_contiguous() && lower_gradient.is_contiguous() &&
                lower_gradient.sizes() == z.sizes() &&
                lower_gradient.scalar_type() == wide_type(z.scalar_type()),
            UsageError, "squash backward: expected contiguous z [N, C] and a {} gradient of its shape",
            at::toString(wide_type(z.scalar_type())));
  at::Tensor out = at::empty_like(z);
  p.rows = z.size(0), p.columns = z.size(1), p.z = z.const_data_ptr(),
  p.lower_gradient = lower_gradient.const_data_ptr();
  p.out = out.mutable_data_ptr(), p.slope = leaky_slope, p.penalties = count;
  at::Tensor weights[most_penalties];
  for (int k = 0; k < count; ++k) {
    const at::Tensor& weight = weights[k] = penalties[k].weight;
    VPD_CHECK(weight.scalar_type() == at::kDouble && weight.is_contiguous() && weight.numel() == p.columns,
              UsageError, "squash backward: expected a float64 weight for each of {} subcomponents, found {}",
              p.columns, weight.numel());
    check(penalties[k].penalty);
    p.weight[k] = weight.const_data_ptr<double>(), p.penalty[k] = penalties[k].penalty;
  }
  if (active.defined()) {
    VPD_CHECK(active.scalar_type() == at::kLong && active.numel() == 1, UsageError,
              "squash backward: expected one int64 for the number of active importances, found {} of {}",
              active.numel(), at::toString(active.scalar_type()));
    p.active = static_cast<unsigned long long*>(active.mutable_data_ptr());
  }
  on_device(
      {z, lower_gradient, weights[0], weights[1], active}, [&] { squash_backward_cpu(p); },
      [&](void* stream) { squash_backward_cuda(p, stream); });
  return out;
}

}  // namespace vpd
