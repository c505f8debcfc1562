#pragma once

#include <cstdint>

namespace vpd {

/// Where sources r (and the Δ-mask δ) of a forward pass come from.
enum class SourceKind : std::int32_t {
  constant,  ///< r = value, δ = delta_value
  uniform,   ///< r ~ U(0,1) per element, δ ~ U(0,1) per position, from counters
  binomial,  ///< r in {0, 1} with equal chances, δ likewise
  tensor,    ///< r and δ from a matrix whose last column of the site's C + 1 is δ
  mixed,     ///< at some positions tensor, at the others uniform
};

}  // namespace vpd
