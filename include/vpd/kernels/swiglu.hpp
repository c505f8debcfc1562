#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

/// silu(gate) ⊙ up, with silu(z) = z / (1 + exp(-z)): the activation between the matrices of a gated MLP.
/// Both [N, d], contiguous, of one dtype (float32, float64, bfloat16; computed in float32 for the last).
/// Returns [N, d] of that dtype.
at::Tensor swiglu_forward(const at::Tensor& gate, const at::Tensor& up);

struct SwigluGradients {
  at::Tensor gate;  ///< [N, d], dtype of gate
  at::Tensor up;    ///< [N, d]
};

/// Backward of swiglu_forward: gradient [N, d] of the same dtype.
SwigluGradients swiglu_backward(const at::Tensor& gradient, const at::Tensor& gate, const at::Tensor& up);

}  // namespace vpd
