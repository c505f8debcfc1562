#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace vpd {

/// What changes from update to update. A captured step reads both from zero-dimensional float32 tensors of
/// the device, where they are defined.
struct AdamWNumbers {
  double rate = 0.0;
  std::int64_t count = 1;  ///< of the update, from 1
  at::Tensor late_rate, late_count;
};

/// What one update is made with.
struct AdamWUpdate {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  AdamWNumbers numbers;
  at::Tensor divisor;  ///< float32, zero-dimensional: what the gradient is divided by; undefined: nothing
  at::Tensor skip;     ///< likewise; where it is not 0 nothing changes. Undefined: never
};

/// x -= rate weight_decay x;  m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²;
/// x -= rate m̂ / (sqrt(v̂) + eps), m̂ = m / (1 - β₁ᶜ), v̂ = v / (1 - β₂ᶜ), c the count.
/// x, g, m and v are contiguous, of one shape, all float32 or float64; `narrow`, bfloat16 like x or
/// undefined, becomes x. LibTorch's fused implementation on a CPU, which may leave g divided; on CUDA a
/// kernel, since LibTorch's has x read once more for `narrow`, writes g back and computes in float64.
void adamw(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
           const at::Tensor& narrow, const AdamWUpdate& update);

}  // namespace vpd
