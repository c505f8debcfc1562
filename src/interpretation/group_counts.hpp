#pragma once

// How often groups of columns have events, alone and together, while groups are merged.

#include <cstdint>
#include <span>
#include <vector>

#include "vpd/interpretation/bit_columns.hpp"

namespace vpd {

/// A group has an event where one of its columns has one, and is named by its smallest column.
///
/// Joint counts are kept for all pairs. A merge needs one new row of them:
///
///     |(i or j) and g| = |i and g| + |j and g| - |i and j and g|
///
/// and the last term only the positions where both i and j have an event, each with a list of the groups that
/// have one there. Such a position then has one event less, so that all merges together look at no more
/// positions than there are events.
class GroupCounts {
 public:
  /// Every column is a group. Each column has an event.
  explicit GroupCounts(const BitColumns& columns);

  /// Names of the groups, ascending.
  const std::vector<std::int32_t>& groups() const { return groups_; }
  std::int64_t count(std::int32_t group) const { return counts_[index(group)]; }
  /// Columns of the group.
  std::int64_t size(std::int32_t group) const {
    return static_cast<std::int64_t>(members_[index(group)].size());
  }
  /// Σ of the groups' counts.
  std::int64_t total() const { return total_; }
  std::int32_t joint(std::int32_t a, std::int32_t b) const {
    return joint_[a < b ? place(a, b) : place(b, a)];
  }
  /// joint(group, g) for g = group + 1, group + 2, …: of names that are no groups any more they mean nothing.
  std::span<const std::int32_t> joint_row(std::int32_t group) const {
    return std::span(joint_).subspan(place(group, group + 1), columns() - index(group) - 1);
  }
  /// Pairs of groups that have an event together.
  std::int64_t pairs_together() const { return pairs_together_; }

  /// The columns of `right` become columns of `left`, the smaller one.
  void merge(std::int32_t left, std::int32_t right);

 private:
  static std::size_t index(std::int32_t group) { return static_cast<std::size_t>(group); }
  std::size_t columns() const { return counts_.size(); }
  /// Of the pair a < b among all, row by row.
  std::size_t place(std::int32_t a, std::int32_t b) const {
    return index(a) * (2 * columns() - index(a) - 1) / 2 + index(b) - index(a) - 1;
  }
  void list_positions(const BitColumns& columns);
  void count_pairs();
  void count_triples(std::int32_t left, std::int32_t right);

  BitColumns events_;                               // of groups, by name
  std::vector<std::int32_t> groups_;                // names, ascending
  std::vector<std::int64_t> counts_;                // by name
  std::vector<std::vector<std::int32_t>> members_;  // columns, by name
  std::vector<std::int32_t> group_of_;              // by column
  std::int64_t total_ = 0, pairs_together_ = 0;
  std::vector<std::int32_t> joint_;  // of pairs a < b
  // Of each position the groups that have an event there, each named by one of its columns.
  std::vector<std::int64_t> begin_;
  std::vector<std::int32_t> length_, listed_;
  std::vector<std::int32_t> triples_;  // by name: |left and right and it|, zero between merges
};

}  // namespace vpd
