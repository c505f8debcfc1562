#pragma once

#include <cstdint>

namespace vpd {

// A pseudo-random permutation of {0, …, size - 1} that is computed, not stored: a Feistel network over the
// smallest even number of bits that holds `size`, walked along its cycle until it lands below `size` (J.
// Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). The domain is less than four times
// `size`, so the expected walk is below four steps. Good enough to shuffle data; no cipher.
class Permutation {
 public:
  // `stream` numbers the permutations of one seed, such as the epochs of a run. size >= 1.
  Permutation(std::int64_t size, std::uint64_t seed, std::uint64_t stream);

  // 0 <= index < size.
  std::int64_t operator()(std::int64_t index) const;

 private:
  static constexpr int kRounds = 8;

  std::uint64_t size_;
  int half_bits_;
  std::uint64_t keys_[kRounds];
};

}  // namespace vpd
