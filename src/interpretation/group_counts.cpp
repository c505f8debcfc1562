#include "group_counts.hpp"

#include <algorithm>
#include <numeric>

namespace vpd {

GroupCounts::GroupCounts(const BitColumns& columns)
    : events_(columns),
      groups_(static_cast<std::size_t>(columns.columns())),
      counts_(groups_.size()),
      members_(groups_.size()),
      group_of_(groups_.size()),
      joint_(groups_.size() * (groups_.size() - 1) / 2),
      triples_(groups_.size()) {
  std::iota(groups_.begin(), groups_.end(), 0);
  group_of_ = groups_;
  for (const std::int32_t group : groups_) {
    members_[index(group)] = {group};
    counts_[index(group)] = columns.count(group);
    total_ += count(group);
  }
  list_positions(columns);
  count_pairs();
}

void GroupCounts::list_positions(const BitColumns& columns) {
  const auto positions = static_cast<std::size_t>(columns.positions());
  length_.resize(positions);
  for (const std::int32_t c : groups_)
    for_each_bit(columns.bits(c), [&](std::int64_t n) { ++length_[static_cast<std::size_t>(n)]; });
  begin_.resize(positions + 1);
  std::partial_sum(length_.begin(), length_.end(), begin_.begin() + 1, std::plus<std::int64_t>());
  listed_.resize(static_cast<std::size_t>(total_));
  std::vector<std::int64_t> next(begin_.begin(), begin_.end() - 1);
  for (const std::int32_t c : groups_) {
    for_each_bit(columns.bits(c), [&](std::int64_t n) {
      listed_[static_cast<std::size_t>(next[static_cast<std::size_t>(n)]++)] = c;
    });
  }
}

void GroupCounts::count_pairs() {
  std::vector<std::int64_t> next(begin_.begin(), begin_.end() - 1);  // behind the columns counted so far
  for (const std::int32_t c : groups_) {
    std::int32_t* const row = joint_.data() + place(c, c + 1);
    for_each_bit(events_.bits(c), [&](std::int64_t position) {
      const auto n = static_cast<std::size_t>(position);
      const std::int64_t end = begin_[n + 1];
      for (std::int64_t k = ++next[n]; k < end; ++k) ++row[listed_[static_cast<std::size_t>(k)] - c - 1];
    });
  }
  pairs_together_ = std::count_if(joint_.begin(), joint_.end(), [](std::int32_t count) { return count > 0; });
}

void GroupCounts::count_triples(std::int32_t left, std::int32_t right) {
  for_each_common_bit(events_.bits(left), events_.bits(right), [&](std::int64_t position) {
    const auto n = static_cast<std::size_t>(position);
    std::int32_t* const listed = listed_.data() + begin_[n];
    std::int32_t* of_right = nullptr;
    for (std::int32_t* one = listed; one != listed + length_[n]; ++one) {
      const std::int32_t group = group_of_[index(*one)];
      ++triples_[index(group)];
      if (group == right) of_right = one;
    }
    *of_right = listed[--length_[n]];  // left is listed there, too
  });
}

void GroupCounts::merge(std::int32_t left, std::int32_t right) {
  const std::int64_t both = joint(left, right);
  if (both > 0) count_triples(left, right);
  for (const std::int32_t g : groups_) {
    if (g == left || g == right) continue;
    const std::int32_t other = joint_[g < right ? place(g, right) : place(right, g)];
    std::int32_t& mine = joint_[g < left ? place(g, left) : place(left, g)];
    pairs_together_ -= mine > 0 && other > 0 ? 1 : 0;
    mine += other - triples_[index(g)];
    triples_[index(g)] = 0;
  }
  pairs_together_ -= both > 0 ? 1 : 0;
  triples_[index(left)] = triples_[index(right)] = 0;
  events_.unite(left, right);
  events_.drop(right);
  counts_[index(left)] += counts_[index(right)] - both;
  total_ -= both;
  for (const std::int32_t c : members_[index(right)]) group_of_[index(c)] = left;
  std::vector<std::int32_t>& members = members_[index(left)];
  members.insert(members.end(), members_[index(right)].begin(), members_[index(right)].end());
  members_[index(right)] = {};
  groups_.erase(std::lower_bound(groups_.begin(), groups_.end(), right));
}

}  // namespace vpd
