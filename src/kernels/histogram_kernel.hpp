#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

struct HistogramParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;  // float32 or float64
  const void* x = nullptr;                  // [N, C]
  std::int64_t stride = 0;
  std::int64_t bins = 0;
  double threshold = 0.0;
  std::int64_t* counts = nullptr;  // [bins + 2, C], added to
};

void histogram_cpu(const HistogramParams& params);
void histogram_cuda(const HistogramParams& params, void* stream);

}  // namespace vpd
