#pragma once

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// Tokens that a subcomponent's vectors point at, from weights alone: of those that write the residual
/// stream U_c against rows of the head (times the last norm's weight), of those that read it V_c against
/// rows of the embedding (times the weight of the norm in front).
struct Lens {
  at::Tensor token;  ///< int32 [Σ C, 20]: the 10 highest, falling, then the 10 lowest, rising; -1: none
  at::Tensor dot, cosine;  ///< float32 [Σ C, 20]
};
inline constexpr std::int64_t lens_tokens = 10;

/// sign: float32 [Σ C], 1 or -1, a factor of both vectors. Rows of sites that neither write nor read the
/// stream, and all rows of a target without a head or an embedding, are -1 and 0.
Lens lens_of(const Decomposition& decomposition, const at::Tensor& sign);

}  // namespace vpd
