#pragma once

#include <cmath>
#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// ceil(x · bins), at most `bins`; 0 for what is not above 0.
template <class T>
std::int32_t histogram_bin(T x, T bins) {
  const T place = std::ceil(x * bins), held = place < bins ? place : bins;
  return static_cast<std::int32_t>(x > 0 ? held : T(0));
}

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
