#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

struct RotaryParams {
  std::int64_t rows = 0;
  std::int64_t heads = 0;
  std::int64_t half = 0;  // d_head / 2
  std::int64_t time_length = 1;
  ElementType type = ElementType::float32;
  const void* x = nullptr;  // [N, heads * 2 half]
  std::int64_t x_stride = 0;
  const void* cosine = nullptr;  // wide [T, half]
  const void* sine = nullptr;
  bool adjacent = false;
  bool inverse = false;
  void* out = nullptr;  // contiguous
};

void rotary_cpu(const RotaryParams& params);
void rotary_cuda(const RotaryParams& params, void* stream);

}  // namespace vpd
