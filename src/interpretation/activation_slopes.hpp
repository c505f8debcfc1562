#pragma once

#include <ATen/core/Tensor.h>

#include "vpd/target/executor.hpp"

// Of the functions between two matrices of an MLP, entry by entry. silu is that of gated ones, without the
// factor that it gates.

namespace vpd {

/// φ(u).
at::Tensor value_of(Activation kind, const at::Tensor& u);
/// φ'(u).
at::Tensor slope_of(Activation kind, const at::Tensor& u);
/// φ(u) / u, and φ'(0) next to 0.
at::Tensor secant_of(Activation kind, const at::Tensor& u);
/// φ''(u); 0 of relu, whose bend is all at 0.
at::Tensor curvature_of(Activation kind, const at::Tensor& u);

}  // namespace vpd
