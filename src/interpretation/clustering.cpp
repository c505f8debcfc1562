#include "vpd/interpretation/clustering.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "cheapest_pairs.hpp"
#include "group_counts.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/philox.hpp"

namespace vpd {
namespace {

void check(const BitColumns& events, const ClusterSettings& settings) {
  VPD_CHECK(settings.alpha >= 0.0 && std::isfinite(settings.alpha), UsageError,
            "alpha: expected a number of at least 0, found {:g}", settings.alpha);
  VPD_CHECK(settings.greedy || settings.gamma > 0.0, UsageError,
            "gamma: expected a number above 0, found {:g}", settings.gamma);
  VPD_CHECK(events.columns() >= 2, UsageError,
            "expected at least two columns with events to be grouped, found {}", events.columns());
  for (std::int64_t c = 0; c < events.columns(); ++c)
    VPD_CHECK(events.count(c) > 0, UsageError, "expected an event in each column, found none in column {}",
              c);
}

/// In [0, 1), a multiple of 2^-53.
double uniform(const RandomKey& key, std::size_t number) {
  std::uint32_t words[4];
  random_words(key, 0, number, 0, words);
  return (static_cast<double>(words[0] >> 5) * 0x1p26 + static_cast<double>(words[1] >> 6)) * 0x1p-53;
}

}  // namespace

std::int64_t Merges::best() const { return std::min_element(total.begin(), total.end()) - total.begin(); }

std::vector<std::int32_t> Merges::groups_at(std::int64_t merges) const {
  std::vector<std::int32_t> group(static_cast<std::size_t>(columns));
  std::iota(group.begin(), group.end(), 0);
  // Backwards, a name that is taken in has its last name already.
  for (auto m = static_cast<std::size_t>(merges); m-- > 0;)
    group[static_cast<std::size_t>(right[m])] = group[static_cast<std::size_t>(left[m])];
  return group;
}

std::int64_t drawn_rank(double uniform, double gamma, double pairs) {
  const double rank = std::floor(-std::log1p(uniform * std::expm1(-gamma * pairs)) / gamma);
  return static_cast<std::int64_t>(std::min(rank, pairs - 1.0));
}

Merges cluster(const BitColumns& events, const ClusterSettings& settings, const StopAsked& stop,
               const std::function<void(std::int64_t)>& merged) {
  check(events, settings);
  GroupCounts counts(events);
  CheapestPairs cheapest(counts, settings.alpha, settings.together);
  const RandomKey key = make_key(settings.seed, clustering_draws, 1);
  const auto columns = static_cast<double>(events.columns());
  Merges merges;
  merges.columns = events.columns();
  merges.total = {static_cast<double>(counts.total()) * (std::log2(columns) + settings.alpha)};
  while (counts.groups().size() > 1) {
    end_if_asked(stop, "the clustering");
    const auto k = static_cast<double>(counts.groups().size());
    const double pairs =
        settings.together ? static_cast<double>(counts.pairs_together()) : k * (k - 1.0) / 2.0;
    if (pairs == 0.0) break;
    const PricedPair pair = cheapest.at_rank(
        settings.greedy ? 0 : drawn_rank(uniform(key, merges.delta.size()), settings.gamma, pairs));
    const double delta = static_cast<double>(counts.total()) * std::log2(1.0 - 1.0 / k) + pair.cost;
    merges.left.push_back(pair.left);
    merges.right.push_back(pair.right);
    merges.delta.push_back(delta);
    merges.total.push_back(merges.total.back() + delta);
    counts.merge(pair.left, pair.right);
    if (counts.groups().size() > 1) cheapest.merged(pair.left, pair.right);
    if (merged) merged(static_cast<std::int64_t>(merges.delta.size()));
  }
  return merges;
}

double description_length(const BitColumns& events, const std::vector<std::int32_t>& groups, double alpha) {
  std::map<std::int32_t, std::vector<std::int64_t>> members;
  for (std::size_t c = 0; c < groups.size(); ++c) members[groups[c]].push_back(static_cast<std::int64_t>(c));
  const double name = std::log2(static_cast<double>(members.size()));
  double length = 0.0;
  for (const auto& [group, columns] : members) {
    std::int64_t count = 0;
    for (std::int64_t n = 0; n < events.positions(); ++n)
      count += std::any_of(columns.begin(), columns.end(), [&](std::int64_t c) { return events.has(c, n); });
    length += static_cast<double>(count) * (name + alpha * static_cast<double>(columns.size()));
  }
  return length;
}

std::int64_t clustering_bytes(std::int64_t positions, std::int64_t columns, std::int64_t events) {
  const std::int64_t bits = columns * (positions / 8 + 40), pairs = 2 * columns * (columns - 1);
  // Lists of positions, with the places that their making needs; what is kept of a group and of its row.
  return bits + pairs + 4 * events + 20 * positions + 350 * columns;
}

}  // namespace vpd
