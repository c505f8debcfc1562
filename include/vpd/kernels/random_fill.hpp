#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include "vpd/base/philox.hpp"

namespace vpd {

/// LibTorch's CPU generator at the start of a stream.
at::Generator generator_of(RandomKey key);

/// Calls fill(i) for every i below `count`, on several threads: each stream of draws is sequential, and large
/// causal-importance functions have half a billion numbers.
void fill_side_by_side(std::size_t count, const std::function<void(std::size_t)>& fill);

/// Fills x (any shape, dtype and device) with N(0, deviation²) draws of a stream; the same on every device.
void fill_normal(const at::Tensor& x, double deviation, RandomKey key);

/// U(-1/√fan_in, 1/√fan_in), the framework's default for a linear layer; the same on every device.
void fill_symmetric(const at::Tensor& x, std::int64_t fan_in, RandomKey key);

}  // namespace vpd
