#pragma once

#include <cstdint>

#include "element_type.hpp"
#include "vpd/kernels/penalty.hpp"

namespace vpd {

inline constexpr int most_penalties = 2;

struct PenaltySumsParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;  // of z
  const void* z = nullptr;                  // [N, C]
  std::int64_t z_stride = 0;
  double slope = 0.01;
  Penalty penalty;
  double* sums = nullptr;       // [C], zeroed by the caller, added to
  double* workspace = nullptr;  // [column_sum_groups, C]: CUDA
};

struct SquashBackwardParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;  // of z and out
  const void* z = nullptr;                  // [N, C], contiguous, like lower_gradient and out
  const void* lower_gradient = nullptr;     // float32 beside bfloat16
  void* out = nullptr;
  double slope = 0.01;
  int penalties = 0;
  const double* weight[most_penalties] = {};  // [C] each
  unsigned long long* active = nullptr;       // one number, added to, or null
  Penalty penalty[most_penalties];
};

void penalty_sums_cpu(const PenaltySumsParams& params);
void squash_backward_cpu(const SquashBackwardParams& params);
void penalty_sums_cuda(const PenaltySumsParams& params, void* stream);
void squash_backward_cuda(const SquashBackwardParams& params, void* stream);

}  // namespace vpd
