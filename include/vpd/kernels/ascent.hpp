#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/ascent_rule.hpp"
#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// Fills x (float32 or float64, [R, C], contiguous rows) with U(0,1) draws from counters (row + first_row,
/// column).
void fill_uniform(const at::Tensor& x, const LateKey& key, std::int64_t first_row = 0);

/// What Adam multiplies a moment with after `count` steps, this one included: 1 / (1 - beta^count).
double bias_correction(double beta, std::int64_t count);

/// One ascent of sources x along `gradient`: x += rate · m̂ / (sqrt(v̂) + eps), m̂ = unbias1 · m, v̂ = unbias2 ·
/// v, or x += rate · sign(gradient), then clamped (method, section 6). All tensors contiguous, of x's shape
/// and dtype; m and v (the moments) undefined for sign steps. `counts`, int64 [R], stands in place of both
/// bias corrections: Adam's ascents so far, this one included, of each of R equal parts of x.
void ascend(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
            const AscentRule& rule, const at::Tensor& counts = {});

}  // namespace vpd
