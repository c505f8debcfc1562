#pragma once

// Tensors that are not as stated below are a UsageError.

#include <ATen/core/Tensor.h>

namespace vpd {

/// a b for a [M, K] and b [K, N] of one dtype; either may be a transposed view or a slice of wider rows.
/// Returns [M, N]. float32 products on the CPU go through oneDNN where the build has it (see README,
/// dependencies), all others through LibTorch.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b);

/// a b + bias, rounded once: where a sum in bfloat16 all but cancels, two roundings would leave a grid, and
/// on it zeros. bias [N], or what extends to [M, N], of their dtype.
at::Tensor matrix_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias);

/// Memory for [M, N] with contiguous rows that start on multiples of 16 bytes, where the fast products of a
/// GPU and the vector accesses of its kernels can reach them, however odd N is.
at::Tensor empty_rows(std::int64_t M, std::int64_t N, const at::TensorOptions& options);

/// out += a b (accumulate) or out = a b. `out` [M, N] has contiguous rows and may be wider in type than a and
/// b (float32 beside bfloat16).
void matrix_product_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate);

/// The same for each of C pairs: a [C, M, K], b [C, K, N], out [C, M, N].
at::Tensor batched_product(const at::Tensor& a, const at::Tensor& b);
at::Tensor batched_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias);
void batched_product_into(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, bool accumulate);

}  // namespace vpd
