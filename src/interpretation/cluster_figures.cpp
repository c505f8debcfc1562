#include "vpd/interpretation/cluster_figures.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace vpd {
namespace {

ClusterFigures figures_of(const BitColumns& events, std::int32_t group, std::vector<std::int32_t> members) {
  ClusterFigures figures{.group = group, .members = std::move(members)};
  const std::size_t words = events.bits(group).size();
  std::vector<std::uint64_t> one(words), two(words);  // of the members have an event, at least
  std::int64_t all = 0;
  for (const std::int32_t member : figures.members) {
    const std::span<const std::uint64_t> bits = events.bits(member);
    for (std::size_t i = 0; i < words; ++i) {
      two[i] |= one[i] & bits[i];
      one[i] |= bits[i];
    }
    all += events.count(member);
  }
  for (const std::uint64_t word : one) figures.count += std::popcount(word);
  const auto size = static_cast<double>(figures.members.size());
  for (const std::int32_t member : figures.members) {
    std::int64_t with_another = 0;
    for_each_common_bit(events.bits(member), two, [&](std::int64_t) { ++with_another; });
    figures.cohesion += static_cast<double>(with_another) / static_cast<double>(events.count(member)) / size;
  }
  figures.within_density = static_cast<double>(all) / (size * static_cast<double>(figures.count));
  return figures;
}

double pairs(std::int64_t n) { return static_cast<double>(n) * static_cast<double>(n - 1) / 2.0; }

}  // namespace

std::vector<ClusterFigures> cluster_figures(const BitColumns& events,
                                            const std::vector<std::int32_t>& groups) {
  std::map<std::int32_t, std::vector<std::int32_t>> members;
  for (std::size_t c = 0; c < groups.size(); ++c) members[groups[c]].push_back(static_cast<std::int32_t>(c));
  std::vector<ClusterFigures> clusters;
  for (auto& [group, columns] : members)
    if (columns.size() > 1) clusters.push_back(figures_of(events, group, std::move(columns)));
  return clusters;
}

std::vector<double> best_matches(const std::vector<ClusterFigures>& clusters,
                                 const std::vector<std::int32_t>& other) {
  std::map<std::int32_t, std::int64_t> sizes;
  for (const std::int32_t group : other) ++sizes[group];
  std::vector<double> best;
  for (const ClusterFigures& cluster : clusters) {
    std::map<std::int32_t, std::int64_t> shared;
    for (const std::int32_t member : cluster.members) ++shared[other[static_cast<std::size_t>(member)]];
    double most = 0.0;
    for (const auto& [group, count] : shared) {
      const std::int64_t either = static_cast<std::int64_t>(cluster.members.size()) + sizes[group] - count;
      most = std::max(most, static_cast<double>(count) / static_cast<double>(either));
    }
    best.push_back(most);
  }
  return best;
}

double adjusted_rand(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  std::map<std::int32_t, std::int64_t> in_a, in_b;
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> in_both;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ++in_a[a[i]];
    ++in_b[b[i]];
    ++in_both[{a[i], b[i]}];
  }
  double of_a = 0.0, of_b = 0.0, of_both = 0.0;
  for (const auto& [group, count] : in_a) of_a += pairs(count);
  for (const auto& [group, count] : in_b) of_b += pairs(count);
  for (const auto& [group, count] : in_both) of_both += pairs(count);
  const double by_chance = of_a * of_b / pairs(static_cast<std::int64_t>(a.size()));
  const double most = (of_a + of_b) / 2.0;
  return most == by_chance ? 1.0 : (of_both - by_chance) / (most - by_chance);  // all apart, or all together
}

}  // namespace vpd
