#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

/// RMSNorm of each row: weight ⊙ x / sqrt(mean(x²) + eps). x [N, d] (float32, float64, bfloat16; contiguous
/// rows), weight [d] or undefined (1). Statistics in float32 (float64 for float64). The result has dtype
/// `output` and is written into `out` when given (contiguous rows, may be a slice of wider ones).
/// `reciprocal` [N] (float32 or float64) receives 1 / sqrt(...), which the backward pass needs; null: not
/// wanted.
at::Tensor rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType output,
                            at::Tensor* reciprocal, const at::Tensor& out = {});

/// The norm of x + added, which is written to `sum` in the dtype of x. added [N, d] of dtype `output`, which
/// is no wider than x's, and sum are contiguous.
at::Tensor add_rms_norm_forward(const at::Tensor& x, const at::Tensor& added, const at::Tensor& weight,
                                double eps, at::ScalarType output, at::Tensor* reciprocal, at::Tensor& sum);

/// dL/dx [N, d] in the dtype of x; adds dL/dweight to weight_gradient [d] (float32/float64) when defined.
at::Tensor rms_norm_backward(const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& reciprocal, const at::Tensor& weight_gradient);

struct AddNormGradients {
  at::Tensor x;      ///< in the dtype of x
  at::Tensor added;  ///< the same numbers in the dtype of `gradient`
};
/// The same of add_rms_norm_forward, for its sum, on which sum_gradient (contiguous, of the sum's dtype, or
/// undefined) arrives as well.
AddNormGradients add_rms_norm_backward(const at::Tensor& gradient, const at::Tensor& sum_gradient,
                                       const at::Tensor& sum, const at::Tensor& weight,
                                       const at::Tensor& reciprocal, const at::Tensor& weight_gradient);

}  // namespace vpd
