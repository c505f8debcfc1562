#pragma once

// The minimality sums over upper_leaky(z), and the backward pass through both leaky squashings of a
// causal-importance pre-activation z (method, sections 3 and 5): lower_leaky(z) = clamp(z, 0, 1), which masks
// are made from, and upper_leaky(z) = 1 + slope (z - 1) above 1, else clamp(z, 0, 1). dL/dz of lower_leaky is
// the gradient on 0 < z <= 1; for z <= 0 slope times the gradient where that is negative (so that a dead
// value can be pulled up, never pushed further down), else 0; 0 for z > 1. Shapes: N positions, C
// subcomponents (of all sites). z is float32 or float64, and for the sums and the backward pass also
// bfloat16, beside which the arithmetic is float32. Throws UsageError for tensors that are
// not as stated.

#include <ATen/core/Tensor.h>

#include "vpd/kernels/penalty.hpp"

namespace vpd {

/// Slope of both squashings outside of [0, 1].
inline constexpr double leaky_slope = 0.01;

/// s_c = sum over positions of the penalty of upper_leaky(z). z [N, C] with contiguous rows; returns float64
/// [C].
at::Tensor penalty_sums(const at::Tensor& z, const Penalty& penalty);

/// What the derivative of the minimality terms needs of their sums: with g the upper-leaky importances and φ
/// the penalty, dL/dg = weight_c · φ'(g), weight_c = ∂L/∂s_c. Each term that has a penalty of its own is one
/// of these.
struct PenaltyGradient {
  at::Tensor weight;  ///< float64 [C]
  Penalty penalty;
};

/// dL/dz, like z, of everything that reaches z: `lower_gradient` (dL/d lower_leaky(z), of z's shape, float32
/// beside bfloat16 and else like z) through lower_leaky, and the penalties (at most two) through upper_leaky.
/// One pass over z, which also adds the number of active importances, z > 0, to `active` (int64, one element)
/// unless that is undefined.
at::Tensor squash_backward(const at::Tensor& z, const at::Tensor& lower_gradient,
                           const PenaltyGradient* penalties, int count, const at::Tensor& active = {});

}  // namespace vpd
