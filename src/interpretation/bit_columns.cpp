#include "vpd/interpretation/bit_columns.hpp"

namespace vpd {

std::int64_t BitColumns::count(std::int64_t column) const {
  std::int64_t count = 0;
  for (const std::uint64_t word : bits(column)) count += std::popcount(word);
  return count;
}

std::int64_t BitColumns::events() const {
  std::int64_t all = 0;
  for (std::int64_t c = 0; c < columns(); ++c) all += count(c);
  return all;
}

void BitColumns::unite(std::int64_t into, std::int64_t from) {
  const std::span<const std::uint64_t> other = bits(from);
  std::vector<std::uint64_t>& mine = words(into);
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] |= other[i];
}

}  // namespace vpd
