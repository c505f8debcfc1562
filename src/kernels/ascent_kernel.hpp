#pragma once

#include <cstdint>

#include "element_type.hpp"
#include "vpd/kernels/ascent_rule.hpp"
#include "vpd/kernels/late_value.hpp"

namespace vpd {

struct FillUniformParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;  // float32 or float64
  void* x = nullptr;
  std::int64_t stride = 0;
  LateKey key;
  std::int64_t first_row = 0;  // counter: {column / 4, row low, row high, 0}
};

struct AscentParams {
  std::int64_t count = 0;
  ElementType type = ElementType::float32;  // float32 or float64
  void* x = nullptr;
  const void* gradient = nullptr;
  void* m = nullptr;  // null for sign steps
  void* v = nullptr;
  AscentRule rule;
  const std::int64_t* counts = nullptr;  // in place of both bias corrections: t of each part
  std::int64_t part = 0;                 // elements of a part
};

void fill_uniform_cpu(const FillUniformParams& params);
void ascend_cpu(const AscentParams& params);
void fill_uniform_cuda(const FillUniformParams& params, void* stream);
void ascend_cuda(const AscentParams& params, void* stream);

}  // namespace vpd
