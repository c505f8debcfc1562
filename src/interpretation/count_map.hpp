#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "vpd/base/philox.hpp"

namespace vpd {

/// Sums by a number below 2^63: open addressing, linear probing. Many of them hold few keys each, so an empty
/// one takes no memory of its own.
class CountMap {
 public:
  void add(std::uint64_t key, std::int64_t amount) {
    if (8 * (size_ + 1) > 7 * slots_.size()) grow();
    Slot& slot = find(key);
    if (slot.key == 0) {
      slot.key = key + 1;
      ++size_;
    }
    slot.value += amount;
  }

  /// Has the key's place read into the cache, for an add() that follows.
  void prefetch(std::uint64_t key) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[mix_bits(key) & (slots_.size() - 1)], 1);
  }

  /// Keys in ascending order, with their sums.
  std::vector<std::pair<std::uint64_t, std::int64_t>> sorted() const {
    std::vector<std::pair<std::uint64_t, std::int64_t>> entries;
    entries.reserve(size_);
    for (const Slot& slot : slots_)
      if (slot.key != 0) entries.emplace_back(slot.key - 1, slot.value);
    std::sort(entries.begin(), entries.end());
    return entries;
  }

  void merge(const CountMap& other) {
    for (const Slot& slot : other.slots_)
      if (slot.key != 0) add(slot.key - 1, slot.value);
  }

 private:
  struct Slot {
    std::uint64_t key = 0;  // one more than it; 0: free
    std::int64_t value = 0;
  };

  Slot& find(std::uint64_t key) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t i = mix_bits(key) & mask;
    while (slots_[i].key != 0 && slots_[i].key != key + 1) i = (i + 1) & mask;
    return slots_[i];
  }

  void grow() {
    std::vector<Slot> old(slots_.empty() ? 8 : 2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.key != 0) find(slot.key - 1) = slot;
  }

  std::vector<Slot> slots_;  // a power of two
  std::size_t size_ = 0;
};

}  // namespace vpd
