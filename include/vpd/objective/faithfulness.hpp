#pragma once

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// ‖W - (V U)ᵀ‖_F² of one site (zero-dimensional float64), from the masters and to their precision, whatever
/// the type of matrix products (method, section 7). `seed` · dvalue/d(V, U) is added to V_gradient [d_in, C]
/// and U_gradient [C, d_out] where they are defined. The loss is the sum over sites divided by
/// Sites::entries().
at::Tensor squared_delta(const Decomposition& decomposition, std::size_t site, double seed,
                         const at::Tensor& V_gradient, const at::Tensor& U_gradient);

}  // namespace vpd
