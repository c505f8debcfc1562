#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// Elementwise over `count` elements of one type.
struct SwigluParams {
  std::int64_t count = 0;
  ElementType type = ElementType::float32;
  const void* gate = nullptr;
  const void* up = nullptr;
  void* out = nullptr;             // the forward's result
  const void* gradient = nullptr;  // dL/dout
  void* gate_gradient = nullptr;
  void* up_gradient = nullptr;
};

void swiglu_forward_cpu(const SwigluParams& params);
void swiglu_backward_cpu(const SwigluParams& params);

}  // namespace vpd
