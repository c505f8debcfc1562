#pragma once

// float32 matrices as sums of bfloat16 ones, whose products tensor cores make at twelve times the rate of
// float32's own. Throws UsageError for tensors that are
// not as stated.

#include <vector>

#include <ATen/core/Tensor.h>

namespace vpd {

/// A float32 matrix as a sum: each part is what the ones before leave over, rounded to bfloat16. Two parts
/// hold 16 bits of each entry's significand, three hold all 24.
struct BFloat16Parts {
  std::vector<at::Tensor> parts;  ///< bfloat16 [M, N], largest first

  BFloat16Parts t() const;
};
/// x float32 [M, N], contiguous; count 1 to 3.
BFloat16Parts bfloat16_parts(const at::Tensor& x, int count);

struct DifferenceParts {
  at::Tensor squares;   ///< float64, zero-dimensional: Σ (a - b)², each square in float64
  BFloat16Parts parts;  ///< of scale (a - b)
};
/// a - b of two float32 matrices [M, N], a contiguous, in one pass; count 0 to 3. A b that is not contiguous,
/// as an embedding's is, is copied first.
DifferenceParts difference_parts(const at::Tensor& a, const at::Tensor& b, double scale, int count);

/// out += a b (accumulate) or out = a b, float32 [M, N], from products of parts with float32 sums: of part i
/// of a [M, K] and part j of b [K, N] those with i + j < orders, the smallest first. What is left out is
/// 2^(-8 orders) of |a| |b| or less.
void parts_product_into(const at::Tensor& out, const BFloat16Parts& a, const BFloat16Parts& b, int orders,
                        bool accumulate);

}  // namespace vpd
