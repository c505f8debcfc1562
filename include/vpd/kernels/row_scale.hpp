#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

/// y = scale ⊙ y, each row by its number, in place: y [N, d] float32, float64 or bfloat16, scale [N] float32
/// (float64 for float64). Returns what Σ_d y ⊙ x was before, [N] of scale's type, for x like y; undefined
/// where x is.
at::Tensor scale_rows(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& x = {});

}  // namespace vpd
