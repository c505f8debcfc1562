#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// Of one type T, float32 or float64, but for what is of `output_type`.
struct LayerNormParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;
  ElementType output_type = ElementType::float32;  // of out and its gradient
  const void* x = nullptr;                         // T [N, d]
  std::int64_t x_stride = 0;
  const void* weight = nullptr;  // T [d]
  const void* bias = nullptr;    // T [d], forward alone
  double eps = 0.0;
  void* out = nullptr;             // [N, d], contiguous, the forward's result
  void* mean = nullptr;            // T [N]; null in a forward pass that no backward pass follows
  void* reciprocal = nullptr;      // T [N], likewise
  const void* gradient = nullptr;  // dL/dout
  std::int64_t gradient_stride = 0;
  void* x_gradient = nullptr;  // T [N, d], contiguous
};

void layer_norm_forward_cpu(const LayerNormParams& params);
void layer_norm_backward_cpu(const LayerNormParams& params);

}  // namespace vpd
