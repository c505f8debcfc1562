#pragma once

// What clusters are like, and how far two clusterings agree. Groups are named as Merges::groups_at() names
// them.

#include <cstdint>
#include <vector>

#include "vpd/interpretation/bit_columns.hpp"

namespace vpd {

/// A group of two columns or more.
struct ClusterFigures {
  std::int32_t group = 0;
  std::vector<std::int32_t> members;  ///< ascending
  std::int64_t count = 0;             ///< positions where one of them has an event
  /// The chance that another member has an event where one has, in the mean over members: 0 where no two ever
  /// have one together.
  double cohesion = 0.0;
  double within_density = 0.0;  ///< the part of the members that have an event, in the mean over `count`
};
/// By their names, ascending.
std::vector<ClusterFigures> cluster_figures(const BitColumns& events,
                                            const std::vector<std::int32_t>& groups);

/// Of each cluster the largest Jaccard index of its members with those of a group of the other clustering.
std::vector<double> best_matches(const std::vector<ClusterFigures>& clusters,
                                 const std::vector<std::int32_t>& other);

/// The adjusted Rand index (Hubert and Arabie 1985): 1 for the same groups, 0 in the mean for groups of the
/// same sizes that were drawn at random.
double adjusted_rand(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b);

}  // namespace vpd
