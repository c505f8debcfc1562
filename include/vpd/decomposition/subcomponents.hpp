#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/parameter_set.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/kernels/philox.hpp"

namespace vpd {

/// Order of the subcomponents' parameters: V [d_in, C] and U [C, d_out] of site i are entries 2 i and 2 i +
/// 1, named "<site>.V" and
/// "<site>.U". W ≈ (V U)ᵀ (method, section 2).
ParameterSet make_subcomponents(const Sites& sites, const Numerics& numerics);

/// V ~ N(0, 1 / d_in), U ~ N(0, 1 / C). The same on every device.
void initialise_subcomponents(ParameterSet& subcomponents, const Sites& sites, std::uint64_t seed);

/// Calls fill(i) for every i below `count`, on several threads: each stream of draws is sequential, and large
/// causal-importance functions have half a billion numbers.
void fill_side_by_side(std::size_t count, const std::function<void(std::size_t)>& fill);

/// Fills x with N(0, deviation²) draws of a stream; the same on every device.
void fill_normal(const at::Tensor& x, double deviation, RandomKey key);

/// U(-1/√fan_in, 1/√fan_in), the framework's default for a linear layer; the same on every device.
void fill_symmetric(const at::Tensor& x, std::int64_t fan_in, RandomKey key);

}  // namespace vpd
