#pragma once

#include <cstdint>

#include "element_type.hpp"

namespace vpd {

/// Networks with one input, one hidden layer and one output each, N positions of C of them:
///   z_c = b2_c + Σ_j w2_cj gelu(x_c w1_cj + b1_cj)
/// Where a gradient's pointer is null it is not wanted. x, z, dz, dx and the parameters are of `type`,
/// gradients of parameters, which are added to, of the wider type beside it.
struct ScalarMlpParams {
  std::int64_t N = 0;
  std::int64_t C = 0;
  std::int64_t hidden = 0;
  ElementType type = ElementType::float32;
  const void* x = nullptr;  // [N, C], rows contiguous
  std::int64_t x_stride = 0;
  const void* w1 = nullptr;  // [C, hidden], contiguous like all of these
  const void* b1 = nullptr;
  const void* w2 = nullptr;
  const void* b2 = nullptr;  // [C]
  void* z = nullptr;         // [N, C], contiguous; forward pass

  const void* gradient = nullptr;  // dL/dz [N, C], contiguous; backward pass, like the rest
  void* x_gradient = nullptr;      // [N, C], contiguous
  void* w1_gradient = nullptr;
  void* b1_gradient = nullptr;
  void* w2_gradient = nullptr;
  void* b2_gradient = nullptr;
};

void scalar_mlp_forward_cpu(const ScalarMlpParams& params);
void scalar_mlp_backward_cpu(const ScalarMlpParams& params);

}  // namespace vpd
