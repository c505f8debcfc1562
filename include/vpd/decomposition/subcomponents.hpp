#pragma once

#include <cstdint>

#include "vpd/decomposition/sites.hpp"
#include "vpd/ops/parameter_set.hpp"

namespace vpd {

/// The subcomponents' parameters, wide: V [d_in, C] and U [C, d_out] of site i are entries 2 i and 2 i + 1,
/// named "<site>.V" and "<site>.U". W ≈ (V U)ᵀ (method, section 2).
ParameterSet make_subcomponents(const Sites& sites, const Numerics& numerics);

/// V ~ N(0, 1 / d_in), U ~ N(0, 1 / C). The same on every device.
void initialise_subcomponents(ParameterSet& subcomponents, const Sites& sites, std::uint64_t seed);

}  // namespace vpd
