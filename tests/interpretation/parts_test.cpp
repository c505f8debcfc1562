// The small parts of a harvest, each against its plain equivalent.

#include <cmath>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "interpretation/count_map.hpp"
#include "interpretation/examples.hpp"
#include "interpretation/harvest_state.hpp"
#include "interpretation/wide_sum.hpp"
#include "vpd/interpretation/evidence.hpp"
#include "vpd/interpretation/token_statistics.hpp"

namespace vpd::testing {
namespace {

TEST(CountMap, IsAMap) {
  std::mt19937_64 random(1);
  CountMap map, other;
  std::map<std::uint64_t, std::int64_t> plain;
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random() % 3000;
    const auto amount = static_cast<std::int64_t>(random() % 7);
    (i % 2 == 0 ? map : other).add(key, amount);
    plain[key] += amount;
  }
  map.merge(other);
  const auto sorted = map.sorted();
  ASSERT_EQ(sorted.size(), plain.size());
  EXPECT_TRUE(std::equal(sorted.begin(), sorted.end(), plain.begin(), [](const auto& a, const auto& b) {
    return a.first == b.first && a.second == b.second;
  }));
}

TEST(WideSum, DoesNotDependOnTheOrder) {
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal;
  std::vector<double> parts;
  for (int i = 0; i < 1000; ++i) parts.push_back(normal(random) * std::pow(10.0, i % 9));
  WideSum forwards, left, right;
  for (const double x : parts) forwards.add(x);
  for (std::size_t i = parts.size(); i-- > 0;) (i % 3 == 0 ? left : right).add(parts[i]);
  left.merge(right);
  EXPECT_EQ(forwards.value(), left.value());
}

TEST(BottomK, KeepsTheSmallestWhateverTheOrder) {
  std::mt19937_64 random(3);
  std::vector<KeptExample> all;
  for (std::int64_t row = 0; row < 200; ++row)
    all.push_back({.rank = random() % 50, .row = row, .centre = static_cast<std::int32_t>(random() % 9)});
  const auto kept = [](const std::vector<KeptExample>& examples) {
    BottomK sketch, other;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const KeptExample& e = examples[i];
      BottomK& to = i % 2 == 0 ? sketch : other;
      if (to.takes(e.rank, e.row, e.centre, 7)) to.keep(e, 7);
    }
    sketch.merge(other, 7);
    std::vector<std::int64_t> rows;
    for (const KeptExample& e : sketch.kept()) rows.push_back(e.row);
    return rows;
  };
  const std::vector<std::int64_t> once = kept(all);
  std::shuffle(all.begin(), all.end(), random);
  EXPECT_EQ(kept(all), once);
  std::sort(all.begin(), all.end(), [](const KeptExample& a, const KeptExample& b) {
    return std::tuple(a.rank, a.row, a.centre) < std::tuple(b.rank, b.row, b.centre);
  });
  ASSERT_EQ(once.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(once[i], all[i].row);
  EXPECT_FALSE(BottomK().takes(0, 0, 0, 0));
}

TEST(BottomK, RanksOfStrengthFallAndReadBack) {
  EXPECT_LT(rank_of_strength(2.0f), rank_of_strength(1.0f));
  EXPECT_LT(rank_of_strength(1e-30f), rank_of_strength(0.0f));
  for (const ExampleKind kind : {ExampleKind::random_positive, ExampleKind::strongest}) {
    const std::uint64_t rank = kind == ExampleKind::strongest ? rank_of_strength(0.7f) : 12345;
    EXPECT_EQ(rank_of(kind, key_of(kind, rank)), rank);
  }
}

TEST(PositionBins, AreFourAnOctave) {
  for (std::int64_t t = 0; t < 8; ++t) EXPECT_EQ(position_bin(t), t);
  EXPECT_EQ(position_bin(8), 8);
  EXPECT_EQ(position_bin(9), 8);
  EXPECT_EQ(position_bin(10), 9);
  EXPECT_EQ(position_bin(511), 31);
  EXPECT_EQ(position_bins(7), 16);
  EXPECT_EQ(position_bins(512), 32);
  for (std::int64_t b = 0; b < 40; ++b) EXPECT_EQ(position_bin(first_of_position_bin(b)), b);
  for (std::int64_t b = 4; b < 40; ++b) EXPECT_EQ(position_bin(first_of_position_bin(b) - 1), b - 1);
}

TEST(TokenStatistics, AreTheirDefinitions) {
  const TokenScores scores = token_scores(6.0, 10.0, 8.0, 200.0);
  EXPECT_DOUBLE_EQ(scores.recall, 0.6);
  EXPECT_DOUBLE_EQ(scores.precision, 0.75);
  EXPECT_DOUBLE_EQ(scores.lift, 0.75 / (10.0 / 200.0));
  EXPECT_DOUBLE_EQ(scores.pmi, std::log(scores.lift));
  EXPECT_EQ(token_scores(0.0, 10.0, 8.0, 200.0).pmi, 0.0);
  EXPECT_EQ(token_scores(0.0, 0.0, 0.0, 200.0).precision, 0.0);
  EXPECT_DOUBLE_EQ(set_scores(6.0, 10.0, 8.0).f1, 2.0 * 0.6 * 0.75 / 1.35);
  const PartnerScores partner = partner_scores(5.0, 10.0, 20.0, 100.0);
  EXPECT_DOUBLE_EQ(partner.jaccard, 0.2);
  EXPECT_DOUBLE_EQ(partner.conditional, 0.25);
  EXPECT_DOUBLE_EQ(partner.log_lift, std::log(5.0 * 100.0 / 200.0));
  EXPECT_DOUBLE_EQ(partner.phi, (500.0 - 200.0) / std::sqrt(10.0 * 20.0 * 90.0 * 80.0));
  EXPECT_EQ(partner_scores(100.0, 100.0, 100.0, 100.0).phi, 0.0) << "always on";
  const std::vector<double> left = {1.0, 0.0}, right = {0.0, 3.0}, none = {0.0, 0.0};
  EXPECT_DOUBLE_EQ(divergence_bits(left, right), 1.0);
  EXPECT_DOUBLE_EQ(divergence_bits(left, left), 0.0);
  EXPECT_EQ(divergence_bits(left, none), 0.0);
}

TEST(TellingTokens, AreTheFewThatSayMost) {
  const auto token = [](std::int64_t id, double count, double total) {
    return TokenScore{
        .token = id, .count = count, .total = total, .scores = token_scores(count, 100.0, total, 1000.0)};
  };
  const TellingTokens telling =
      telling_tokens({token(1, 60, 60), token(2, 30, 35), token(3, 10, 500), token(4, 3, 3)}, 100.0);
  ASSERT_EQ(telling.tokens.size(), 2u) << "3 would cost more than it brings, 4 is too rare";
  EXPECT_EQ(telling.tokens[0].token, 1);
  EXPECT_EQ(telling.tokens[1].token, 2);
  EXPECT_NEAR(telling.scores.hit, 0.9, 1e-12);
  EXPECT_NEAR(telling.scores.cover, 90.0 / 95.0, 1e-12);
}

TEST(Ranked, LeavesRareTokensOutAndOrdersEqualOnesById) {
  std::vector<TokenScore> tokens;
  for (const std::int64_t id : {9, 2, 5})
    tokens.push_back({.token = id, .count = 6, .total = 6, .scores = {.pmi = 1.0}});
  tokens.push_back({.token = 1, .count = 2, .total = 2, .scores = {.pmi = 8.0}});
  const std::vector<TokenScore> top = ranked(tokens, TokenRanking::pmi, 2);
  ASSERT_EQ(top.size(), 2u);
  EXPECT_EQ(top[0].token, 2);
  EXPECT_EQ(top[1].token, 5);
  EXPECT_EQ(ranked(tokens, TokenRanking::pmi, 9, 1).front().token, 1);
}

}  // namespace
}  // namespace vpd::testing
