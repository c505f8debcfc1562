#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// Strides count elements between rows; "wide" is float64 beside float64, else float32.
struct RowScaleParams {
  ElementType type = ElementType::float32;  // of y and x
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  void* y = nullptr;
  std::int64_t y_stride = 0;
  const void* scale = nullptr;  // wide [N]
  const void* x = nullptr;      // or null
  std::int64_t x_stride = 0;
  void* dots = nullptr;  // wide [N]; null without x
};

void row_scale_cpu(const RowScaleParams& params);
void row_scale_cuda(const RowScaleParams& params, void* stream);  // a cudaStream_t

}  // namespace vpd
