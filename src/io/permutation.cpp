#include "vpd/io/permutation.hpp"

#include <algorithm>
#include <bit>

#include "vpd/base/error.hpp"

namespace vpd {

namespace {

// The finaliser of SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, 2014): every input bit reaches every
// output bit.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

Permutation::Permutation(std::int64_t size, std::uint64_t seed, std::uint64_t stream)
    : size_(static_cast<std::uint64_t>(size)) {
  VPD_CHECK(size >= 1, UsageError, "expected a permutation of at least 1 element, found {}", size);
  half_bits_ = std::max(1, static_cast<int>(std::bit_width(size_ - 1) + 1) / 2);
  std::uint64_t key = mix(mix(seed) ^ stream);
  for (std::uint64_t& round_key : keys_) round_key = key = mix(key);
}

std::int64_t Permutation::operator()(std::int64_t index) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto x = static_cast<std::uint64_t>(index);
  VPD_CHECK(x < size_, UsageError, "expected an index below {}, found {}", size_, index);
  do {
    std::uint64_t left = x >> half_bits_;
    std::uint64_t right = x & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (mix(key ^ right) & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= size_);
  return static_cast<std::int64_t>(x);
}

}  // namespace vpd
