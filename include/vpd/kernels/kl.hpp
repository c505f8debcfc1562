#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

struct KlResult {
  at::Tensor
      sum;  ///< float64, zero-dimensional: Σ over rows of KL(softmax(target) ‖ softmax(prediction)), in nats
  at::Tensor
      gradient;  ///< [N, V], dtype of the prediction: scale · dsum/dprediction. Undefined if not wanted
};

/// KL between rows of logits (method, section 5). target, prediction [N, V] with contiguous rows, float32,
/// float64 or bfloat16; computed in float32 (float64 for float64). The target is never differentiated. The
/// gradient may take the prediction's own memory (`in_place`), since nothing else needs the logits in a
/// training step.
KlResult kl_from_logits(const at::Tensor& target, const at::Tensor& prediction, bool want_gradient,
                        double scale, bool in_place);

}  // namespace vpd
