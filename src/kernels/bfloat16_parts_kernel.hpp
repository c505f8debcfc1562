#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

inline constexpr int most_parts = 3;

/// All matrices are contiguous.
struct BFloat16PartsParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  int parts = 0;
  const float* x = nullptr;     // [M, N]
  const float* less = nullptr;  // [M, N] or null: what is taken from x
  float scale = 1.0f;           // what the difference is multiplied by before it is split
  void* out = nullptr;          // bfloat16 [parts, M, N]
  double* squares = nullptr;    // [M] or null: sums of squares of the difference's rows, not scaled
};

void bfloat16_parts_cpu(const BFloat16PartsParams& params);
void bfloat16_parts_cuda(const BFloat16PartsParams& params, void* stream);  // a cudaStream_t

}  // namespace vpd
