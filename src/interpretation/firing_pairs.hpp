#pragma once

#include <ATen/core/Tensor.h>

namespace vpd {

/// sum[i][j] += Σ_n left[n][i] right[n][j] Σ_k A[i][k] m[n][k] B[j][k], float64 [I, J]: what two vectors
/// have to do with each other through K neurons that weigh differently at each position. left [N, I] and
/// right [N, J] are 0 nearly everywhere, and cost nothing there. All others of one floating-point type:
/// m [N, K], A [I, K], B [J, K]. Everything lies on the CPU.
void add_firing_pairs(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right,
                      const at::Tensor& m, const at::Tensor& A, const at::Tensor& B);

}  // namespace vpd
