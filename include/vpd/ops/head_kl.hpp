#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace vpd {

struct HeadKlResult {
  at::Tensor sum;  ///< float64, zero-dimensional: Σ over rows of KL(softmax(target) ‖ softmax(x Wᵀ + bias))
  at::Tensor gradient;  ///< [N, d], dtype of x: scale · dsum/dx. Undefined if not wanted
};

/// KL from target logits [N, V] to the logits that a head makes of x [N, d]: weight [V, d] of x's dtype, bias
/// [V] or undefined (method, section 5). Rows are taken head_kl_rows() at a time, logits and gradient of a
/// chunk in one buffer, so that the [N, V] of the prediction never exist: they would be the largest buffer of
/// a masked pass. Not differentiated by autograd; head and target are frozen.
HeadKlResult kl_through_head(const at::Tensor& target, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& bias, bool want_gradient, double scale);

/// Rows of a chunk of logits of `type`: enough for products of a good size, and few enough to stay in a CPU's
/// cache or within half a GiB of a GPU's memory (but at least 64).
std::int64_t head_kl_rows(const at::Device& device, at::ScalarType type, std::int64_t vocabulary);

}  // namespace vpd
