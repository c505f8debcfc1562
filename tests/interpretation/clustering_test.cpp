// Merges by description length, against brute force and an independent program.

#include "vpd/interpretation/clustering.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include <gtest/gtest.h>

#include "interpretation/cheapest_pairs.hpp"
#include "support/expect_error.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/cluster_figures.hpp"

namespace vpd::testing {
namespace {

using Row = std::vector<std::int32_t>;

/// Numbers that look drawn, the same every time.
struct Draws {
  std::uint64_t state;
  double operator()() { return static_cast<double>(mix_bits(state++) >> 11) * 0x1p-53; }
};

/// A column for each test of a position.
BitColumns columns_of(std::int64_t positions, const std::vector<std::function<bool(std::int64_t)>>& tests) {
  BitColumns events(positions);
  for (const auto& test : tests) {
    events.add_column();
    for (std::int64_t n = 0; n < positions; ++n)
      if (test(n)) events.set(events.columns() - 1, n);
  }
  return events;
}

/// Each column has an event; how often differs from column to column.
BitColumns random_columns(std::int64_t columns, std::int64_t positions, std::uint64_t seed) {
  Draws draw{seed << 32};
  BitColumns events(positions);
  for (std::int64_t c = 0; c < columns; ++c) {
    events.add_column();
    const double rate = 0.5 * draw() * draw();
    for (std::int64_t n = 0; n < positions; ++n)
      if (draw() < rate) events.set(c, n);
    events.set(c, static_cast<std::int64_t>(draw() * static_cast<double>(positions)));
  }
  return events;
}

/// The groups' columns, by their names.
std::map<std::int32_t, Row> members_of(const Row& groups) {
  std::map<std::int32_t, Row> members;
  for (std::size_t c = 0; c < groups.size(); ++c) members[groups[c]].push_back(static_cast<std::int32_t>(c));
  return members;
}

std::int64_t joint_count(const BitColumns& events, const Row& a, const Row& b) {
  std::int64_t count = 0;
  for (std::int64_t n = 0; n < events.positions(); ++n) {
    const auto fires = [&](std::int32_t c) { return events.has(c, n); };
    count += std::any_of(a.begin(), a.end(), fires) && std::any_of(b.begin(), b.end(), fires);
  }
  return count;
}

/// Every pair with its cost, the cheapest first, from the events themselves.
std::vector<PricedPair> priced_pairs(const BitColumns& events, const Row& groups, double alpha,
                                     bool together) {
  const std::map<std::int32_t, Row> members = members_of(groups);
  std::vector<PricedPair> pairs;
  for (auto i = members.begin(); i != members.end(); ++i) {
    for (auto j = std::next(i); j != members.end(); ++j) {
      const auto c = static_cast<double>(joint_count(events, i->second, j->second));
      if (together && c == 0.0) continue;
      const auto s = static_cast<double>(joint_count(events, i->second, i->second)),
                 t = static_cast<double>(joint_count(events, j->second, j->second)),
                 r = static_cast<double>(i->second.size()), q = static_cast<double>(j->second.size());
      pairs.push_back(
          {alpha * (s * q + t * r - c * (r + q)) - c * std::log2(static_cast<double>(members.size()) - 1.0),
           i->first, j->first});
    }
  }
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

TEST(Clustering, EveryDeltaIsTheDifferenceOfTwoLengths) {
  for (const double alpha : {0.0, 0.5, 1.0, 3.0}) {
    for (const bool greedy : {false, true}) {
      const BitColumns events = random_columns(23, 130, 1);
      const Merges merges = cluster(events, {.alpha = alpha, .greedy = greedy, .seed = 4});
      ASSERT_EQ(merges.delta.size(), 22u);
      const double rounding = 1e-12 * merges.total.front();
      double before = 0.0;
      for (std::size_t m = 0; m <= 22; ++m) {
        const double length =
            description_length(events, merges.groups_at(static_cast<std::int64_t>(m)), alpha);
        EXPECT_NEAR(merges.total[m], length, rounding) << "alpha " << alpha << ", merge " << m;
        if (m > 0) {
          EXPECT_NEAR(merges.delta[m - 1], length - before, rounding);
        }
        before = length;
      }
      EXPECT_EQ(members_of(merges.groups_at(22)).size(), 1u);
    }
  }
}

TEST(Clustering, GreedyTakesTheCheapestOfAllPairs) {
  for (const std::int64_t columns : {2, 3, 17, 40}) {
    for (const double alpha : {0.0, 1.0, 2.5}) {
      for (const bool together : {false, true}) {
        const BitColumns events = random_columns(columns, 67, static_cast<std::uint64_t>(columns));
        const Merges merges = cluster(events, {.alpha = alpha, .greedy = true, .together = together});
        for (std::size_t m = 0; m < merges.delta.size(); ++m) {
          const PricedPair cheapest =
              priced_pairs(events, merges.groups_at(static_cast<std::int64_t>(m)), alpha, together).front();
          ASSERT_EQ(merges.left[m], cheapest.left) << columns << " columns, merge " << m;
          ASSERT_EQ(merges.right[m], cheapest.right) << columns << " columns, merge " << m;
        }
        const Row last = merges.groups_at(static_cast<std::int64_t>(merges.delta.size()));
        EXPECT_TRUE(priced_pairs(events, last, alpha, together).empty()) << "stopped too early";
      }
    }
  }
}

TEST(Clustering, EveryRankIsThatOfASortedList) {
  // Far beyond what a row keeps of its own, and after merges.
  const BitColumns events = random_columns(40, 90, 9);
  GroupCounts counts(events);
  CheapestPairs cheapest(counts, 1.0, /*together=*/false);
  Row groups(40);
  std::iota(groups.begin(), groups.end(), 0);
  Draws draw{77};
  while (counts.groups().size() > 2) {
    const std::vector<PricedPair> pairs = priced_pairs(events, groups, 1.0, false);
    for (const std::size_t rank : {std::size_t{0}, std::size_t{1}, pairs.size() / 2, pairs.size() - 1}) {
      const PricedPair found = cheapest.at_rank(static_cast<std::int64_t>(rank)), expected = pairs[rank];
      ASSERT_EQ(std::pair(found.left, found.right), std::pair(expected.left, expected.right))
          << "rank " << rank << " of " << pairs.size();
      // Products of counts up to 90 and 40, the last of which may be subtracted before it is rounded.
      ASSERT_NEAR(found.cost, expected.cost, 4.0 * 90.0 * 40.0 * std::numeric_limits<double>::epsilon());
    }
    const PricedPair merged = pairs[static_cast<std::size_t>(draw() * static_cast<double>(pairs.size()))];
    counts.merge(merged.left, merged.right);
    cheapest.merged(merged.left, merged.right);
    std::replace(groups.begin(), groups.end(), merged.right, merged.left);
  }
}

TEST(Clustering, CountsAfterMergesAreThoseCountedAnew) {
  for (const std::int64_t positions : {1, 63, 64, 65, 300}) {
    const BitColumns events = random_columns(24, positions, 3);
    GroupCounts counts(events);
    Row groups(24);
    std::iota(groups.begin(), groups.end(), 0);
    Draws draw{5};
    while (counts.groups().size() > 1) {
      const std::map<std::int32_t, Row> members = members_of(groups);
      std::int64_t total = 0, together = 0;
      for (const auto& [name, columns] : members) {
        ASSERT_EQ(counts.count(name), joint_count(events, columns, columns));
        ASSERT_EQ(counts.size(name), static_cast<std::int64_t>(columns.size()));
        total += counts.count(name);
        for (const auto& [other, more] : members) {
          if (other <= name) continue;
          ASSERT_EQ(counts.joint(name, other), joint_count(events, columns, more));
          ASSERT_EQ(counts.joint_row(name)[static_cast<std::size_t>(other - name - 1)],
                    counts.joint(name, other));
          together += counts.joint(name, other) > 0;
        }
      }
      ASSERT_EQ(counts.total(), total);
      ASSERT_EQ(counts.pairs_together(), together);
      const auto pick = [&] {
        return counts
            .groups()[static_cast<std::size_t>(draw() * static_cast<double>(counts.groups().size()))];
      };
      const std::int32_t a = pick();
      std::int32_t b = pick();
      while (b == a) b = pick();
      counts.merge(std::min(a, b), std::max(a, b));
      std::replace(groups.begin(), groups.end(), std::max(a, b), std::min(a, b));
    }
  }
}

/// Σ (found - expected)² / expected of counts of J = 0, 1, … and of all from `bins - 1` on.
double chi_square(const std::vector<double>& found, double gamma, double pairs) {
  double drawn = 0.0, chi = 0.0;
  for (const double count : found) drawn += count;
  const double all = -std::expm1(-gamma * pairs);
  for (std::size_t j = 0; j < found.size(); ++j) {
    const double begin = std::exp(-gamma * static_cast<double>(j));
    const double end =
        j + 1 == found.size() ? std::exp(-gamma * pairs) : std::exp(-gamma * static_cast<double>(j + 1));
    const double expected = drawn * (begin - end) / all;
    chi += (found[j] - expected) * (found[j] - expected) / expected;
  }
  return chi;
}

TEST(Clustering, RanksAreDrawnWithTheirChances) {
  for (const double pairs : {6.0, 1000.0}) {
    const std::size_t bins = pairs < 10.0 ? 6 : 20;
    std::vector<double> found(bins);
    Draws draw{1};
    for (int i = 0; i < 50000; ++i) {
      const std::int64_t rank = drawn_rank(draw(), 0.2, pairs);
      ASSERT_LT(static_cast<double>(rank), pairs);
      ++found[std::min(static_cast<std::size_t>(rank), bins - 1)];
    }
    EXPECT_LT(chi_square(found, 0.2, pairs), bins == 6 ? 20.5 : 43.8) << "one in a thousand";
  }
  EXPECT_EQ(drawn_rank(0.0, 0.2, 3.0), 0);
  EXPECT_EQ(drawn_rank(1.0 - 0x1p-53, 0.2, 3.0), 2);
  EXPECT_EQ(drawn_rank(1.0 - 0x1p-53, 50.0, 1e8), 0) << "a large gamma is greedy";
}

TEST(Clustering, MergesAreOfTheRanksThatAreDrawn) {
  // The first merge over many seeds, by its rank among all pairs.
  const BitColumns events = random_columns(30, 80, 2);
  Row alone(30);
  std::iota(alone.begin(), alone.end(), 0);
  const std::vector<PricedPair> pairs = priced_pairs(events, alone, 1.0, false);
  std::vector<double> found(15);
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const Merges merges = cluster(events, {.seed = seed});
    const auto first = std::find_if(pairs.begin(), pairs.end(), [&](const PricedPair& pair) {
      return pair.left == merges.left[0] && pair.right == merges.right[0];
    });
    ++found[std::min<std::size_t>(static_cast<std::size_t>(first - pairs.begin()), found.size() - 1)];
  }
  EXPECT_LT(chi_square(found, 0.2, static_cast<double>(pairs.size())), 36.1) << "one in a thousand";
}

TEST(Clustering, EqualColumnsMergeFirst) {
  Draws draw{8};
  std::vector<std::function<bool(std::int64_t)>> tests(
      6, [&](std::int64_t n) { return n == 0 || draw() < 0.1; });
  for (const std::int64_t every : {2, 3})
    tests.insert(tests.begin() + every, 2, [=](std::int64_t n) { return n % every == 0; });
  // Columns 2 and 5 are the same now, and 3 and 4.
  const Merges merges = cluster(columns_of(100, tests), {.greedy = true});
  EXPECT_EQ(Row(merges.left.begin(), merges.left.begin() + 2), (Row{2, 3}));
  EXPECT_EQ(Row(merges.right.begin(), merges.right.begin() + 2), (Row{5, 4}));
}

TEST(Clustering, DisjointColumnsMergeWhereTheInequalitySaysSo) {
  // Two columns of `rare` events each, disjoint, beside others that together have S events.
  for (const std::int64_t rare : {1, 5, 20, 60}) {
    for (const double alpha : {0.25, 1.0, 4.0}) {
      const std::int64_t N = 1000;
      const BitColumns events = columns_of(
          N, {[=](std::int64_t n) { return n < rare; },
              [=](std::int64_t n) { return n >= rare && n < 2 * rare; },
              [](std::int64_t n) { return n >= 200 && n < 500; }, [](std::int64_t n) { return n >= 500; }});
      const auto S = static_cast<double>(events.events()), k = 4.0;
      const bool gains = alpha * static_cast<double>(2 * rare) < S * std::log2(k / (k - 1.0));
      const Merges merges = cluster(events, {.alpha = alpha, .greedy = true});
      EXPECT_EQ(merges.left[0], 0);
      EXPECT_EQ(merges.right[0], 1);
      EXPECT_EQ(merges.delta[0] < 0.0, gains) << rare << " events, alpha " << alpha;
      const Merges never = cluster(events, {.alpha = alpha, .greedy = true, .together = true});
      EXPECT_TRUE(never.delta.empty()) << "no two of them ever have an event together";
      EXPECT_EQ(never.best(), 0);
    }
  }
}

TEST(Clustering, PlantedGroupsAreFound) {
  // Twelve groups of three, each column missing a tenth of its group's events, and one in five hundred
  // beside.
  constexpr std::int64_t groups = 12, each = 3, N = 4000;
  Draws draw{12};
  BitColumns events(N);
  for (std::int64_t c = 0; c < groups * each; ++c) events.add_column();
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const bool there = draw() < 0.03;
      for (std::int64_t m = 0; m < each; ++m)
        if ((there && draw() < 0.9) || draw() < 0.002) events.set(m * groups + g, n);
    }
  }
  Row planted;
  for (std::int32_t c = 0; c < groups * each; ++c) planted.push_back(c % groups);
  const Merges merges = cluster(events, {.greedy = true});
  const Row found = merges.groups_at(merges.best());
  EXPECT_EQ(found, planted);
  for (const ClusterFigures& cluster : cluster_figures(events, found)) EXPECT_GT(cluster.cohesion, 0.8);
  // Draws take dearer pairs, too, the more so the fewer cheap ones are left.
  const Merges drawn = cluster(events, {.seed = 1});
  EXPECT_GT(adjusted_rand(drawn.groups_at(drawn.best()), planted), 0.7);
}

class GoldenClusters : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenClusters, MergesAreTheSame) {
  const SafetensorsFile file(test_data() / "interpretation" / GetParam() / "clusters.safetensors");
  const at::Tensor bits = file.load("table/bits");
  BitColumns events(bits.size(0));
  for (std::int64_t c = 0; c < bits.size(1); ++c) {
    events.add_column();
    for (std::int64_t n = 0; n < bits.size(0); ++n)
      if (bits[n][c].item<int>() != 0) events.set(c, n);
  }
  for (const int alpha : {1, 2}) {
    const std::string name = fmt::format("table/{}/", alpha);
    const auto whole = [&](const char* what) {
      const at::Tensor x = file.load(name + what).to(at::kInt).contiguous();
      return Row(x.const_data_ptr<std::int32_t>(), x.const_data_ptr<std::int32_t>() + x.numel());
    };
    const Merges merges = cluster(events, {.alpha = static_cast<double>(alpha), .greedy = true});
    EXPECT_EQ(merges.left, whole("left"));
    EXPECT_EQ(merges.right, whole("right"));
    EXPECT_LT(
        relative_error(at::tensor(merges.delta, at::kDouble), file.load(name + "delta").to(at::kDouble)),
        1e-6);
    EXPECT_LT(
        relative_error(at::tensor(merges.total, at::kDouble), file.load(name + "total").to(at::kDouble)),
        1e-6);
    const Row groups = merges.groups_at(merges.best());
    EXPECT_EQ(groups, whole("group"));
    const std::vector<ClusterFigures> figures = cluster_figures(events, groups);
    const Row named = whole("cohesion_group");
    const at::Tensor cohesion = file.load(name + "cohesion").to(at::kDouble);
    ASSERT_EQ(figures.size(), named.size());
    for (std::size_t i = 0; i < figures.size(); ++i) {
      EXPECT_EQ(figures[i].group, named[i]);
      EXPECT_NEAR(figures[i].cohesion, cohesion[static_cast<std::int64_t>(i)].item<double>(), 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenClusters, ::testing::Values("plain", "grouped"));

TEST(ClusterFigures, AreWhatCanBeCountedByHand) {
  const BitColumns events =
      columns_of(10, {[](std::int64_t n) { return n < 4; }, [](std::int64_t n) { return n >= 2 && n < 8; },
                      [](std::int64_t n) { return n == 9; }, [](std::int64_t n) { return n == 2; }});
  const std::vector<ClusterFigures> found = cluster_figures(events, {0, 0, 2, 0});
  ASSERT_EQ(found.size(), 1u) << "column 2 is alone";
  EXPECT_EQ(found[0].members, (Row{0, 1, 3}));
  EXPECT_EQ(found[0].count, 8);
  EXPECT_NEAR(found[0].cohesion, (2.0 / 4.0 + 2.0 / 6.0 + 1.0) / 3.0, 1e-12);
  EXPECT_NEAR(found[0].within_density, 11.0 / 24.0, 1e-12);
}

TEST(ClusterFigures, AgreementOfTwoClusterings) {
  const Row a = {0, 0, 0, 3, 3, 5}, b = {0, 0, 2, 2, 2, 5};
  const std::vector<double> best = best_matches(cluster_figures(random_columns(6, 30, 1), a), b);
  EXPECT_EQ(best, (std::vector<double>{2.0 / 3.0, 2.0 / 3.0}));
  EXPECT_DOUBLE_EQ(adjusted_rand(a, a), 1.0);
  // 2 of 15 pairs are together in both, 4 in each: (2 - 16/15) / (4 - 16/15).
  EXPECT_NEAR(adjusted_rand(a, b), (2.0 - 16.0 / 15.0) / (4.0 - 16.0 / 15.0), 1e-12);
  const Row apart = {0, 1, 2, 3, 4, 5};
  EXPECT_DOUBLE_EQ(adjusted_rand(apart, apart), 1.0);
  EXPECT_DOUBLE_EQ(adjusted_rand(apart, a), 0.0);
}

template <class Expected>
void expect_refusal(const BitColumns& events, const ClusterSettings& settings, const std::string& words,
                    int exit_code = 2, const StopAsked& stop = {}) {
  std::exception_ptr error;
  try {
    static_cast<void>(cluster(events, settings, stop));
  } catch (...) {
    error = std::current_exception();
  }
  expect_error<Expected>(error, words, exit_code);
}

TEST(Clustering, RefusesWhatCannotBeGrouped) {
  const BitColumns two = random_columns(2, 10, 1);
  expect_refusal<UsageError>(random_columns(1, 10, 1), {}, "expected at least two columns");
  expect_refusal<UsageError>(BitColumns(10), {}, "found 0");
  expect_refusal<UsageError>(two, {.alpha = -1.0}, "alpha: expected a number of at least 0, found -1");
  expect_refusal<UsageError>(two, {.alpha = NAN}, "alpha: expected a number of at least 0, found nan");
  expect_refusal<UsageError>(two, {.gamma = 0.0}, "gamma: expected a number above 0, found 0");
  BitColumns empty = two;
  empty.add_column();
  expect_refusal<UsageError>(empty, {}, "expected an event in each column, found none in column 2");
  expect_refusal<Interrupted>(two, {}, "the clustering was interrupted", 130, [] { return true; });
}

TEST(Clustering, TakesNoMoreMemoryThanItSays) {
  // The largest parts, written out.
  const std::int64_t N = 65536, A = 10000, events = 13'000'000;
  const std::int64_t parts = A * N / 8 + 4 * A * (A - 1) / 2 + 4 * events;
  EXPECT_GE(clustering_bytes(N, A, events), parts);
  EXPECT_LE(clustering_bytes(N, A, events), parts + parts / 20);
}

}  // namespace
}  // namespace vpd::testing
