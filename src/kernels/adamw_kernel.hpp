#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// Numbers as in AdamWUpdate; addresses are of the device's memory, or null.
struct AdamWParams {
  ElementType type = ElementType::float32;
  std::int64_t count = 0;  // of elements
  void* x = nullptr;
  const void* gradient = nullptr;
  void* m = nullptr;
  void* v = nullptr;
  void* narrow = nullptr;  // bfloat16 or null
  double beta1 = 0.0;
  double beta2 = 0.0;
  double eps = 0.0;
  double weight_decay = 0.0;
  double rate = 0.0;
  double updates = 1.0;
  const float* late_rate = nullptr;
  const float* late_updates = nullptr;
  const float* divisor = nullptr;
  const float* skip = nullptr;
};

void adamw_cuda(const AdamWParams& params, void* stream);  // a cudaStream_t

}  // namespace vpd
