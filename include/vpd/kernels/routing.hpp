#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// Per position k ~ U{1..L}, then a random k-subset of the L sites (method, section 4). Returns uint8 [L, N],
/// 1 where the site is masked. `first_row` is the number of row 0 in the global batch. L <= 4096.
at::Tensor draw_subset_routing(const LateKey& key, std::int64_t L, std::int64_t N, std::int64_t first_row,
                               at::Device device);

/// Each (site, position) masked with `probability`, independently. Returns uint8 [L, N].
at::Tensor draw_static_routing(const LateKey& key, const LateNumber& probability, std::int64_t L,
                               std::int64_t N, std::int64_t first_row, at::Device device);

}  // namespace vpd
