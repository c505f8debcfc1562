#pragma once

#include <ATen/core/Tensor.h>

namespace vpd {

/// One update by AdamW. Numbers that a captured step reads late are zero-dimensional float32 tensors of the
/// parameters' device.
struct AdamWUpdate {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double rate = 0.0;
  double count = 1.0;                ///< of the update, from 1
  at::Tensor late_rate, late_count;  ///< in place of rate and count, where they are defined
  at::Tensor divisor;                ///< what the gradient is divided by, likewise; undefined: nothing
  at::Tensor skip;                   ///< likewise; where it is not 0 nothing changes. Undefined: never
};

/// x -= rate weight_decay x;  m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²;
/// x -= rate m̂ / (sqrt(v̂) + eps), m̂ = m / (1 - β₁ᶜ), v̂ = v / (1 - β₂ᶜ), c the count.
/// x, g, m and v are contiguous, of one shape, all float32 or float64; `narrow`, bfloat16 like x or
/// undefined, becomes x. LibTorch's fused implementation on a CPU, which may leave g divided; on CUDA a
/// kernel, since LibTorch's has x read once more for `narrow`, writes g back and computes in float64.
void adamw(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
           const at::Tensor& narrow, const AdamWUpdate& update);

}  // namespace vpd
