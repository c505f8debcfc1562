#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

/// What the backward pass needs of a forward one.
struct LayerNormStatistics {
  at::Tensor mean;        ///< [N], float32 (float64 beside float64)
  at::Tensor reciprocal;  ///< [N]: 1 / sqrt(variance + eps)
};

/// LayerNorm of each row: weight ⊙ (x - mean) / sqrt(variance + eps) + bias, the variance that of the whole
/// row (divided by d). x [N, d] (float32, float64; contiguous rows), weight and bias [d] of x's dtype. The
/// result [N, d] has dtype `output` (float64 exactly beside float64). `statistics`: null where no backward
/// pass follows.
at::Tensor layer_norm_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              double eps, at::ScalarType output, LayerNormStatistics* statistics);

/// dL/dx [N, d] in the dtype of x. gradient [N, d] in the forward's dtype of output. Weight and bias are
/// frozen: targets with them are not trained.
at::Tensor layer_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                               const LayerNormStatistics& statistics);

}  // namespace vpd
