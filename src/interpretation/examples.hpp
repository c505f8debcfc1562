#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace vpd {

/// What an example is kept for; the numbers of the file.
enum class ExampleKind : std::uint8_t { random_positive = 0, random_negative = 1, strongest = 2 };
inline constexpr std::size_t example_kinds = 3;

/// A firing with its surroundings: 2 w + 1 positions, -1 where the row has none.
struct KeptExample {
  std::uint64_t rank = 0;  ///< the smallest are kept
  std::int64_t row = 0;
  std::int32_t centre = 0;  ///< its position in the row
  std::vector<std::int32_t> tokens;
  std::vector<float> importance, activation;
};

/// The rank of a strongest example: larger values first.
std::uint64_t rank_of_strength(float strength);
/// What the file has as its key: the strength's bits, for `strongest`.
std::int64_t key_of(ExampleKind kind, std::uint64_t rank);
std::uint64_t rank_of(ExampleKind kind, std::int64_t key);

/// The examples of smallest rank, a row's best alone: a sketch that does not depend on the order in which it
/// sees them, so that those of several parts can be put together.
class BottomK {
 public:
  /// Whether a row's best, of that rank, would be kept.
  bool takes(std::uint64_t rank, std::int64_t row, std::int32_t centre, std::size_t most) const;
  /// The largest rank that may be taken.
  std::uint64_t last_rank(std::size_t most) const {
    return kept_.size() < most ? std::numeric_limits<std::uint64_t>::max() : most > 0 ? kept_.back().rank : 0;
  }
  /// One that takes() accepts.
  void keep(KeptExample example, std::size_t most);
  void merge(const BottomK& other, std::size_t most);

  /// By rank.
  const std::vector<KeptExample>& kept() const { return kept_; }

 private:
  std::vector<KeptExample> kept_;
};

}  // namespace vpd
