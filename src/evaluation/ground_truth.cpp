#include "ground_truth.hpp"

#include <ATen/ATen.h>

#include "assignment.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

std::int64_t identity_error(const at::Tensor& importance, double tolerance) {
  const at::Tensor g = importance.to(at::kCPU, at::kDouble);
  const at::Tensor columns = at::tensor(best_assignment(g), at::kLong).unsqueeze(1);
  const at::Tensor assigned = g.gather(1, columns);
  const std::int64_t above = at::count_nonzero(g.gt(tolerance)).item<std::int64_t>(),
                     assigned_above = at::count_nonzero(assigned.gt(tolerance)).item<std::int64_t>(),
                     weak = at::count_nonzero(assigned.lt(1.0 - tolerance)).item<std::int64_t>();
  return above - assigned_above + weak;
}

std::int64_t dense_error(const at::Tensor& importance, std::int64_t k, double tolerance) {
  const at::Tensor g = importance.to(at::kCPU, at::kDouble);
  VPD_CHECK(g.size(1) >= k, UsageError, "dense error: expected at least {} columns, found {}", k, g.size(1));
  const at::Tensor heaviest = g.sum(0).argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
  const at::Tensor largest = std::get<0>(g.max(0)).index_select(0, heaviest);
  const at::Tensor weak = largest.narrow(0, 0, k).lt(1.0 - tolerance),
                   left = largest.narrow(0, k, g.size(1) - k).gt(tolerance);
  return at::count_nonzero(weak).item<std::int64_t>() + at::count_nonzero(left).item<std::int64_t>();
}

BestMatch best_match(const at::Tensor& W, const at::Tensor& V, const at::Tensor& U, const at::Tensor& needed,
                     bool whole) {
  const at::Tensor columns = needed.to(at::kCPU).nonzero().view({-1});
  if (columns.numel() == 0) return {};
  const at::Tensor w = W.to(at::kCPU, at::kDouble), v = V.to(at::kCPU, at::kDouble).index_select(1, columns),
                   u = U.to(at::kCPU, at::kDouble).index_select(0, columns);
  // Both cosines are between vectors of length ‖W_j‖ and ‖U_c‖ · part: ⟨U_c V_jc, W_j⟩ over their product,
  // where the part is |V_jc|, or ‖V_c‖ where all columns count.
  const at::Tensor inner = at::matmul(u, w).t() * v;  // [n, C]
  const at::Tensor part = whole ? v.norm(2, {0}, /*keepdim=*/true).expand_as(v) : v.abs();
  const at::Tensor length = part * u.norm(2, {1}, false).unsqueeze(0),
                   own = w.norm(2, {0}, false).unsqueeze(1);
  const at::Tensor cosine =
      at::nan_to_num(inner / (length * own), 0.0, 0.0, 0.0);  // a term of length 0: none
  const auto [largest, which] = cosine.max(1, /*keepdim=*/true);
  return {largest.mean().item<double>(), (length.gather(1, which) / own).mean().item<double>()};
}

}  // namespace vpd
