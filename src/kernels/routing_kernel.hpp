#pragma once

#include <cstdint>

#include "vpd/kernels/late_value.hpp"

namespace vpd {

inline constexpr std::int64_t most_routed_sites = 4096;

/// Word i of block j of position n is that of random_words(key, j, n, 0). Subset routing takes k from block
/// most_routed_sites and the rank of site l from word l % 4 of block l / 4, ties broken by the site's number.
struct RoutingParams {
  std::int64_t sites = 0;
  std::int64_t rows = 0;
  std::int64_t first_row = 0;
  LateKey key;
  bool subset = true;  // false: each site with `probability`
  LateNumber probability = 0.0;
  std::uint8_t* out = nullptr;  // [L, N]
};

/// k of the position: uniform in 1..L (the product's high word, off by less than L / 2^32 from even chances).
VPD_HOST_DEVICE std::int64_t subset_size(RandomKey key, std::uint64_t row, std::int64_t sites) {
  std::uint32_t words[4];
  random_words(key, static_cast<std::uint32_t>(most_routed_sites), row, 0, words);
  return 1 + static_cast<std::int64_t>(
                 (static_cast<std::uint64_t>(words[0]) * static_cast<std::uint64_t>(sites)) >> 32);
}

/// Random word of a site at a position.
VPD_HOST_DEVICE std::uint32_t site_word(RandomKey key, std::uint64_t row, std::int64_t site) {
  std::uint32_t words[4];
  random_words(key, static_cast<std::uint32_t>(site / 4), row, 0, words);
  return words[site % 4];
}

void routing_cpu(const RoutingParams& params);
void routing_cuda(const RoutingParams& params, void* stream);

}  // namespace vpd
