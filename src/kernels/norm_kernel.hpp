#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// wide is float64 beside float64 x, else float32.
struct NormParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;         // of x and its gradient
  ElementType output_type = ElementType::float32;  // of out and its gradient
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  const void* weight = nullptr;  // wide [d] or null
  double eps = 0.0;
  const void* added = nullptr;  // [N, d] of output_type, contiguous, or null: added to x before the norm
  void* sum = nullptr;          // [N, d] like x, contiguous, beside `added`: x + added
  void* out = nullptr;          // [N, d], the forward's result
  std::int64_t out_stride = 0;
  void* reciprocal = nullptr;      // wide [N] or null in the forward pass
  const void* gradient = nullptr;  // dL/dout
  std::int64_t gradient_stride = 0;
  const void* sum_gradient = nullptr;  // like x, contiguous, or null: added to x's gradient
  void* x_gradient = nullptr;          // [N, d], contiguous
  void* added_gradient = nullptr;      // of output_type, contiguous, or null: x's gradient once more
  void* weight_gradient = nullptr;     // wide [d] or null, added to
  double* workspace = nullptr;         // [column_sum_groups, d]: CUDA, beside weight_gradient
};

void rms_norm_forward_cpu(const NormParams& params);
void rms_norm_backward_cpu(const NormParams& params);
void rms_norm_forward_cuda(const NormParams& params, void* stream);
void rms_norm_backward_cuda(const NormParams& params, void* stream);

}  // namespace vpd
