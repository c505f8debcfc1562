#pragma once

// Which pair of groups is the cheapest to merge, which the second cheapest, and so on.

#include <compare>
#include <cstdint>
#include <limits>
#include <vector>

#include "group_counts.hpp"

namespace vpd {

/// A pair, and that part of its cost in which pairs differ. Pairs are ordered by it, then by their names, so
/// that no order hangs on rounding.
struct PricedPair {
  double cost = std::numeric_limits<double>::infinity();
  std::int32_t left = 0, right = 0;  ///< left < right

  auto operator<=>(const PricedPair&) const = default;
};

/// Merging i and j, of k groups, costs
///
///     alpha (s_i r_j + s_j r_i - c_ij (r_i + r_j)) - c_ij log2(k - 1)
///
/// and what all pairs share. While neither of the two is merged, this only grows as k falls. So the row of a
/// group, its pairs with larger names, keeps its cheapest pairs and one lower bound for all others, and is
/// looked through again only where that bound is among the prices that are asked for.
class CheapestPairs {
 public:
  /// `counts` is to outlive it. `together`: pairs without a common event are no pairs.
  CheapestPairs(const GroupCounts& counts, double alpha, bool together);

  /// The pair with `rank` cheaper ones. There is one.
  PricedPair at_rank(std::int64_t rank);
  /// After GroupCounts::merge() of the same two, while there are two groups at least.
  void merged(std::int32_t left, std::int32_t right);

 private:
  struct Pair {
    double fixed = 0.0;  ///< of its cost, whatever k
    std::int32_t joint = 0, right = 0;
  };
  struct Row {
    std::vector<Pair> cheapest;
    PricedPair others;   ///< no pair that is not in `cheapest` comes before this one
    double floor = 0.0;  ///< no pair of `cheapest` costs less
    std::size_t kept = 8;
    std::int64_t looked_through = 0;  ///< when: with how many groups
  };

  Row& row(std::int32_t group) { return rows_[static_cast<std::size_t>(group)]; }
  Pair pair(std::int32_t left, std::int32_t right, std::int32_t joint) const;
  double cost(const Pair& pair) const { return pair.fixed - static_cast<double>(pair.joint) * bits_; }
  PricedPair priced(std::int32_t left, const Pair& pair) const { return {cost(pair), left, pair.right}; }
  void read_group(std::int32_t group);
  void look_through(std::int32_t group);
  void offer(std::int32_t left, std::int32_t right);
  void collect(std::size_t number);
  bool complete(std::size_t number);

  const GroupCounts& counts_;
  double alpha_;
  bool together_;
  double bits_ = 0.0;                              // log2(k - 1)
  std::vector<double> count_, size_;               // s and r by name
  std::vector<Row> rows_;                          // by name
  std::vector<PricedPair> found_;                  // a heap with the most expensive on top
  std::vector<std::pair<PricedPair, Pair>> seen_;  // of look_through()
};

}  // namespace vpd
