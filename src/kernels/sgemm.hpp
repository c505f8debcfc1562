#pragma once

#include <cstdint>

namespace vpd {

/// float32 C = alpha op(A) op(B) + beta C, row-major, 'N' or 'T' as in BLAS; op(A) is [M, K]. Returns 0 on
/// success.
using Sgemm = int (*)(char transpose_a, char transpose_b, std::int64_t M, std::int64_t N, std::int64_t K,
                      float alpha, const float* A, std::int64_t leading_a, const float* B,
                      std::int64_t leading_b, float beta, float* C, std::int64_t leading_c);

/// oneDNN's product, or null where the library is missing.
Sgemm onednn_sgemm();

}  // namespace vpd
