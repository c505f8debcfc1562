#include "vpd/io/permutation.hpp"

#include <algorithm>
#include <bit>

#include "vpd/base/error.hpp"
#include "vpd/base/philox.hpp"

namespace vpd {

Permutation::Permutation(std::int64_t size, std::uint64_t seed, std::uint64_t stream)
    : size_(static_cast<std::uint64_t>(size)) {
  VPD_CHECK(size >= 1, UsageError, "expected a permutation of at least 1 element, found {}", size);
  half_bits_ = std::max(1, static_cast<int>(std::bit_width(size_ - 1) + 1) / 2);
  std::uint64_t key = mix_bits(mix_bits(seed) ^ stream);
  for (std::uint64_t& round_key : keys_) round_key = key = mix_bits(key);
}

std::int64_t Permutation::operator()(std::int64_t index) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto x = static_cast<std::uint64_t>(index);
  VPD_CHECK(x < size_, UsageError, "expected an index below {}, found {}", size_, index);
  do {
    std::uint64_t left = x >> half_bits_;
    std::uint64_t right = x & mask;
    for (const std::uint64_t key : keys_) {
      const std::uint64_t next = left ^ (mix_bits(key ^ right) & mask);
      left = right;
      right = next;
    }
    x = left << half_bits_ | right;
  } while (x >= size_);
  return static_cast<std::int64_t>(x);
}

}  // namespace vpd
