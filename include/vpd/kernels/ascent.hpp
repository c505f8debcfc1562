#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/philox.hpp"

namespace vpd {

/// Fills x (float32 or float64, [R, C], contiguous rows) with U(0,1) draws from counters (row + first_row,
/// column).
void fill_uniform(const at::Tensor& x, RandomKey key, std::int64_t first_row = 0);

struct AscentRule {
  bool adam = true;  ///< false: sign steps
  double beta1 = 0.5;
  double beta2 = 0.99;
  double eps = 1e-8;
  double rate = 0.01;
  std::int64_t count = 1;  ///< ascents made so far, this one included (Adam's bias correction)
  bool clamp = true;       ///< to [0, 1] after the step
};

/// One ascent of sources x along `gradient`: x += rate · m̂ / (sqrt(v̂) + eps), or x += rate · sign(gradient),
/// then clamped (method, section 6). All tensors contiguous, of x's shape and dtype; m and v (the moments)
/// undefined for sign steps.
void ascend(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
            const AscentRule& rule);

}  // namespace vpd
