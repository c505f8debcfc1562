#include "vpd/objective/schatten.hpp"

#include <ATen/ATen.h>

namespace vpd {

at::Tensor schatten(const Decomposition& decomposition, std::size_t site, const SchattenPlan& plan,
                    const at::Tensor& weights, double seed, const at::Tensor& V_gradient,
                    const at::Tensor& U_gradient) {
  const at::NoGradGuard no_grad;
  const at::Tensor V = decomposition.components.V(site), U = decomposition.components.U(site);
  const at::Tensor v = V.square().sum(0, /*keepdim=*/false, at::kDouble);
  const at::Tensor u = U.square().sum(1, /*keepdim=*/false, at::kDouble);
  const at::Tensor x = v * u + plan.eps;
  at::Tensor value = x.pow(0.5 * plan.p);
  if (weights.defined()) value = value * weights;
  if (V_gradient.defined()) {
    // d/dV_c = 2 V_c · d/d‖V_c‖²,  d/d‖V_c‖² = w p/2 x^(p/2 - 1) ‖U_c‖²
    at::Tensor slope = x.pow(0.5 * plan.p - 1.0).mul_(plan.p * seed);
    if (weights.defined()) slope.mul_(weights);
    at::Tensor(V_gradient).addcmul_(V, (slope * u).to(V.scalar_type()).unsqueeze(0));
    at::Tensor(U_gradient).addcmul_(U, (slope * v).to(U.scalar_type()).unsqueeze(1));
  }
  return value.sum();
}

}  // namespace vpd
