#pragma once

// Where columns have events, a bit for each position.

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace vpd {

class BitColumns {
 public:
  explicit BitColumns(std::int64_t positions) : positions_(positions) {}

  /// A column without events, behind those that are there.
  void add_column() { columns_.emplace_back(static_cast<std::size_t>((positions_ + 63) / 64)); }
  void set(std::int64_t column, std::int64_t position) {
    words(column)[static_cast<std::size_t>(position / 64)] |= std::uint64_t{1} << (position % 64);
  }
  bool has(std::int64_t column, std::int64_t position) const {
    return (bits(column)[static_cast<std::size_t>(position / 64)] >> (position % 64) & 1) != 0;
  }

  std::int64_t positions() const { return positions_; }
  std::int64_t columns() const { return static_cast<std::int64_t>(columns_.size()); }
  /// Position n is bit n % 64 of word n / 64.
  std::span<const std::uint64_t> bits(std::int64_t column) const {
    return columns_[static_cast<std::size_t>(column)];
  }
  std::int64_t count(std::int64_t column) const;
  /// Of all columns together.
  std::int64_t events() const;

  /// Column `into` gets the events of `from`, and keeps its own.
  void unite(std::int64_t into, std::int64_t from);
  /// The column has no more events, and takes no memory.
  void drop(std::int64_t column) { words(column) = {}; }

 private:
  std::vector<std::uint64_t>& words(std::int64_t column) {
    return columns_[static_cast<std::size_t>(column)];
  }

  std::int64_t positions_;
  std::vector<std::vector<std::uint64_t>> columns_;
};

/// Calls visit(position) for each bit that is set, ascending.
template <class Visit>
void for_each_bit(std::span<const std::uint64_t> bits, const Visit& visit) {
  for (std::size_t i = 0; i < bits.size(); ++i)
    for (std::uint64_t word = bits[i]; word != 0; word &= word - 1)
      visit(static_cast<std::int64_t>(64 * i) + std::countr_zero(word));
}

/// The same for bits that are set in both.
template <class Visit>
void for_each_common_bit(std::span<const std::uint64_t> a, std::span<const std::uint64_t> b,
                         const Visit& visit) {
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::uint64_t word = a[i] & b[i]; word != 0; word &= word - 1)
      visit(static_cast<std::int64_t>(64 * i) + std::countr_zero(word));
}

}  // namespace vpd
