#pragma once

#include <ATen/core/Tensor.h>

#include "vpd/config/plan.hpp"
#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// APD's simplicity of one site (method, section 5, `schatten`): Σ_c w_c (‖U_c‖² ‖V_c‖² + ε)^(p/2), which for
/// ε = 0 is the Schatten norm ‖U_c V_cᵀ‖_p^p of each rank-one subcomponent. Zero-dimensional float64, from
/// the masters. weights: float64 [C], or undefined: 1. `seed` · dvalue/d(V, U) is added to V_gradient [d_in,
/// C] and U_gradient [C, d_out] where they are defined.
at::Tensor schatten(const Decomposition& decomposition, std::size_t site, const SchattenPlan& plan,
                    const at::Tensor& weights, double seed, const at::Tensor& V_gradient,
                    const at::Tensor& U_gradient);

}  // namespace vpd
