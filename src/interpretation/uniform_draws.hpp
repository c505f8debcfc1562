#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vpd {

/// Streams of RandomPurpose::control, beside those of edits and audits.
inline constexpr std::uint64_t stream_of_pruning = 10, stream_of_verdicts = 11, stream_of_random_tokens = 12,
                               stream_of_random_heads = 13;

/// Numbers in [0, 1), which depend on seed, stream and number alone.
at::Tensor uniform_draws(std::uint64_t seed, std::uint64_t stream, std::uint64_t number,
                         const std::vector<std::int64_t>& shape, const at::TensorOptions& options);

}  // namespace vpd
