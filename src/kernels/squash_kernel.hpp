#pragma once

#include <cstdint>

#include "gate_kernel.hpp"

namespace vpd {

inline constexpr int max_power_terms = 2;

/// Elementwise over `count` elements. type: float32 or float64.
struct SquashParams {
  std::int64_t count = 0;
  ElementType type = ElementType::float32;
  const void* z = nullptr;
  const void* gradient = nullptr;  // null in the forward pass
  void* out = nullptr;
  bool upper = false;
  double slope = 0.01;
};

struct PowerSumsParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;
  const void* z = nullptr;  // [N, C]
  std::int64_t z_stride = 0;
  double slope = 0.01;
  LateNumber p = 1.0;
  double eps = 0.0;
  double* sums = nullptr;       // [C], zeroed by the caller, added to
  double* workspace = nullptr;  // [column_sum_groups, C]: CUDA
};

struct SquashBackwardParams {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  ElementType type = ElementType::float32;
  const void* z = nullptr;  // [N, C], contiguous, like lower_gradient and out
  const void* lower_gradient = nullptr;
  void* out = nullptr;
  double slope = 0.01;
  int terms = 0;
  const double* weight[max_power_terms] = {};  // [C] each
  LateNumber p[max_power_terms] = {};
  double eps[max_power_terms] = {};
};

void squash_cpu(const SquashParams& params);
void power_sums_cpu(const PowerSumsParams& params);
void squash_backward_cpu(const SquashBackwardParams& params);
void squash_cuda(const SquashParams& params, void* stream);
void power_sums_cuda(const PowerSumsParams& params, void* stream);
void squash_backward_cuda(const SquashBackwardParams& params, void* stream);

}  // namespace vpd
