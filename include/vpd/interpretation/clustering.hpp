#pragma once

// Columns that have events together, merged into groups so that telling which groups have an event at a
// position takes few bits.

#include <cstdint>
#include <functional>
#include <vector>

#include "vpd/base/philox.hpp"
#include "vpd/base/stop.hpp"
#include "vpd/interpretation/bit_columns.hpp"

namespace vpd {

/// What draws are for: of positions, and of ranks.
inline constexpr RandomPurpose clustering_draws{32};

/// The description length of k groups,
///
///     L = Σ_i s_i (log2 k + alpha r_i)   bits,
///
/// s_i the positions where group i has an event (one of its columns has one), r_i its number of columns: at
/// such a position the group is named among k, and for each of its columns alpha bits say whether it takes
/// part. Merging i and j, which have c events together, changes it by
///
///     ΔL = S log2(1 - 1/k) - c log2(k - 1) + alpha (s_i r_j + s_j r_i - c (r_i + r_j)),   S = Σ_i s_i.
///
/// Groups without a common event merge at a gain, too, where alpha (s_i r_j + s_j r_i) is below
/// -S log2(1 - 1/k): rare ones do.
struct ClusterSettings {
  double alpha = 1.0;
  double gamma = 0.2;      ///< of drawn_rank(): the larger, the cheaper are the pairs that are merged
  bool greedy = false;     ///< always the cheapest pair
  bool together = false;   ///< groups without a common event never merge
  std::uint64_t seed = 0;  ///< of the ranks that are drawn
};

/// Merges one after the other, each of two groups named by their smallest columns.
struct Merges {
  std::int64_t columns = 0;
  std::vector<std::int32_t> left, right;  ///< left < right; left is the name of both from then on
  std::vector<double> delta;              ///< ΔL
  std::vector<double> total;              ///< L before the first merge, and behind each

  /// How many merges lead to the smallest L; of equal ones the fewest.
  std::int64_t best() const;
  std::int64_t groups_after(std::int64_t merges) const { return columns - merges; }
  /// Of each column the name of its group.
  std::vector<std::int32_t> groups_at(std::int64_t merges) const;
};

/// Merges groups until one is left, or, with `together`, until none have a common event. Each merge is of the
/// pair whose cost has the rank that is drawn. `merged`: told how many merges were made, after each. Throws
/// UsageError for fewer than two columns, a column without an event, alpha below 0 or gamma of 0 or below,
/// and Interrupted once `stop` says so.
Merges cluster(const BitColumns& events, const ClusterSettings& settings, const StopAsked& stop = {},
               const std::function<void(std::int64_t)>& merged = {});

/// L of the groups that columns are in, from the events themselves.
double description_length(const BitColumns& events, const std::vector<std::int32_t>& groups, double alpha);

/// A rank below `pairs`, J with a chance that falls as e^(-gamma J); `uniform` is in [0, 1).
std::int64_t drawn_rank(double uniform, double gamma, double pairs);

/// The most that cluster() holds at a time, beside the events that it is given.
std::int64_t clustering_bytes(std::int64_t positions, std::int64_t columns, std::int64_t events);

}  // namespace vpd
