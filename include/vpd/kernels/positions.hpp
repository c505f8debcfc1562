#pragma once

// Rows of the positions at which a site is masked, gathered: products through its subcomponents need be made
// of those alone.
//
// Shapes: N positions, M of them listed, L sites. "real" is the type of activations (float32, float64 or
// bfloat16), "wide" float32, or float64 beside float64. Throws UsageError for tensors that are
// not as stated.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vpd {

/// The positions at which one site is masked, in order.
struct MaskedPositions {
  at::Tensor positions;  ///< int32 [M]; -1 after the last
  at::Tensor places;     ///< int32 [N]: where in `positions` a position stands, -1 where it does not
};

/// Lists the positions of each site of routing, uint8 [L, N]. On a CPU the lists are as long as they have to
/// be. On CUDA, where the host must not wait to learn how long that is, all have min(most, N) entries. Of
/// more than `most` positions those after the first `most` are left out: they are not masked.
std::vector<MaskedPositions> masked_positions(const at::Tensor& routing, std::int64_t most);

/// Rows of x, real [N, d], at `positions`, int32 [M]. Returns real [M, d], 0 where the position is -1.
at::Tensor select_rows(const at::Tensor& x, const at::Tensor& positions);

/// Σ_d of a ⊙ b, both real [N, d], at `positions`, int32 [M]. Returns wide [M], 0 where the position is -1.
at::Tensor dot_rows(const at::Tensor& a, const at::Tensor& b, const at::Tensor& positions);

/// At listed positions y = scale ⊙ y + part, with one rounding to the type of y, and elsewhere y as it is: y
/// real [N, d], scale wide [M], part real [M, d], places int32 [N].
void combine_rows(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& part,
                  const at::Tensor& places);

}  // namespace vpd
