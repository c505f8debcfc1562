#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

struct KlParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType target_type = ElementType::float32;
  ElementType type = ElementType::float32;  // of prediction and gradient; float64 goes with a float64 target
  const void* target = nullptr;
  std::int64_t target_stride = 0;
  const void* prediction = nullptr;
  std::int64_t prediction_stride = 0;
  void* gradient = nullptr;  // null: not wanted; may be `prediction`
  std::int64_t gradient_stride = 0;
  double scale = 1.0;
  double* row_losses = nullptr;  // [N]
};

void kl_cpu(const KlParams& params);
void kl_cuda(const KlParams& params, void* stream);

}  // namespace vpd
