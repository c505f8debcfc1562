// Which positions are looked at, which subcomponents are important there, and what is grouped of them.

#include "vpd/interpretation/event_sample.hpp"

#include <set>

#include "support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/interpretation/cluster_figures.hpp"
#include "vpd/interpretation/clustering.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

Events events_of(const Decomposition& d, const Dataset& data, const EventSettings& settings,
                 std::int64_t at_once = 2, int lanes = 1, const std::vector<bool>& chosen = {}) {
  Lanes pool(lanes);
  const BatchReader reader(d, data, pool, {.rows = at_once});
  EventSample sample(d.sites, chosen.empty() ? std::vector<bool>(d.sites.size(), true) : chosen, *data.rows(),
                     data.length(), settings);
  std::int64_t batches = 0;
  while (reader.rows_of(batches) > 0) ++batches;
  while (batches-- > 0) sample.add(reader.read(batches));  // in whatever order
  return sample.take();
}

TEST(EventSample, AreTheImportancesOfItsPositions) {
  // A subcomponent of the embedding for each of tokens 3, 5, 7, and one that never fires.
  const std::int64_t vocabulary = 61;
  at::Tensor V = at::zeros({vocabulary, 4});
  const std::vector<std::int64_t> token = {3, 5, 7};
  for (std::int64_t c = 0; c < 3; ++c) V[token[static_cast<std::size_t>(c)]][c] = 1.0;
  const Decomposition d = embedding_case(V);
  const at::Tensor rows = at::empty({9, 6}, at::kLong);
  for (std::int64_t n = 0; n < rows.numel(); ++n)
    rows[n / 6][n % 6] = static_cast<std::int64_t>(mix_bits(static_cast<std::uint64_t>(n)) % 9);
  const GivenRows data(rows);
  for (const std::int64_t per_row : {1, 4, 6, 100}) {
    const EventSettings settings{.per_row = per_row, .seed = 5};
    const Events events = events_of(d, data, settings, 4, 2);
    EXPECT_EQ(events.bits.positions(), 9 * std::min<std::int64_t>(per_row, 6));
    std::int64_t counted = 0, n = 0;
    for (std::int64_t row = 0; row < 9; ++row) {
      const std::vector<std::int64_t> positions = sampled_positions(settings, row, 6);
      EXPECT_EQ(std::set<std::int64_t>(positions.begin(), positions.end()).size(), positions.size());
      EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
      for (const std::int64_t t : positions) {
        ASSERT_TRUE(t >= 0 && t < 6);
        for (std::int64_t i = 0; i < events.bits.columns(); ++i) {
          const auto c = static_cast<std::size_t>(events.subcomponents[static_cast<std::size_t>(i)]);
          EXPECT_EQ(events.bits.has(i, n), rows[row][t].item<std::int64_t>() == token[c]);
          counted += events.bits.has(i, n);
        }
        ++n;
      }
    }
    EXPECT_EQ(counted, events.bits.events());
    EXPECT_TRUE(std::is_sorted(events.subcomponents.begin(), events.subcomponents.end()));
    for (std::int64_t i = 0; i < events.bits.columns(); ++i) EXPECT_GT(events.bits.count(i), 0);
  }
}

TEST(EventSample, EveryPositionIsDrawnAsOften) {
  std::vector<double> drawn(8);
  constexpr int rows = 4000;
  for (std::int64_t row = 0; row < rows; ++row)
    for (const std::int64_t t : sampled_positions({.per_row = 3}, row, 8))
      drawn[static_cast<std::size_t>(t)] += 1.0;
  double chi = 0.0;
  const double expected = rows * 3.0 / 8.0;
  for (const double count : drawn) chi += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi, 24.3) << "seven degrees of freedom, one in a thousand";
}

class GoldenEvents : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenEvents, LeadToTheSameMerges) {
  GoldenCase golden(GetParam(), at::kDouble);
  Decomposition& d = golden.decomposition;
  const std::filesystem::path folder = test_data() / "interpretation" / GetParam();
  d.ci_parameters.load(folder / "causal_importance.safetensors");
  d.ci_parameters.refresh();
  const SafetensorsFile file(folder / "clusters.safetensors");
  const auto whole = [&](const char* name) {
    const at::Tensor x = file.load(name).to(at::kInt).contiguous();
    return std::vector<std::int32_t>(x.const_data_ptr<std::int32_t>(),
                                     x.const_data_ptr<std::int32_t>() + x.numel());
  };
  const auto& tokens = std::get<TokensData>(golden.config.data.eval);
  const TokenDataset data(tokens.path, tokens.sequence_length, false, 0);
  const Events events = events_of(d, data, {.threshold = 0.01, .per_row = data.length()}, 3, 2);
  EXPECT_EQ(events.subcomponents, whole("events/columns"));
  const Merges merges = cluster(events.bits, {.greedy = true});
  EXPECT_EQ(merges.left, whole("events/1/left"));
  EXPECT_EQ(merges.right, whole("events/1/right"));
  EXPECT_LT(
      relative_error(at::tensor(merges.total, at::kDouble), file.load("events/1/total").to(at::kDouble)),
      1e-6);
  const std::vector<std::int32_t> groups = merges.groups_at(merges.best());
  EXPECT_EQ(groups, whole("events/1/group"));
  const at::Tensor cohesion = file.load("events/1/cohesion").to(at::kDouble);
  const std::vector<ClusterFigures> figures = cluster_figures(events.bits, groups);
  ASSERT_EQ(static_cast<std::int64_t>(figures.size()), cohesion.numel());
  for (std::size_t i = 0; i < figures.size(); ++i)
    EXPECT_NEAR(figures[i].cohesion, cohesion[static_cast<std::int64_t>(i)].item<double>(), 1e-6);

  // Of one site alone, its own events.
  std::vector<bool> chosen(d.sites.size(), false);
  chosen[4] = true;
  const Events some = events_of(d, data, {.threshold = 0.01, .per_row = data.length()}, 3, 1, chosen);
  std::int64_t inside = 0;
  for (const std::int32_t c : events.subcomponents)
    inside += c >= d.sites[4].offset && c < d.sites[4].offset + d.sites[4].C;
  EXPECT_EQ(some.bits.columns(), inside);
  EXPECT_GT(inside, 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenEvents, ::testing::Values("plain", "grouped"));

TEST(EventSample, SubcomponentsOfOneFeatureOfAToyPairUp) {
  // Five features, read and written apart: subcomponent c of linear1 and that of linear2 belong to feature c.
  constexpr std::int64_t features = 5;
  const RunConfig config =
      load_run_config(source_dir() / "configs" / "toys" / "tms_5-2.yaml",
                      {"sites=[{pattern: \"linear*\", C: 5}]", where_it_reads(), "evaluation.metrics=[]"},
                      config::Files::may_be_missing);
  const NamedTensors weights = {{"linear1.weight", at::eye(features)},
                                {"linear2.weight", at::eye(features)},
                                {"linear2.bias", at::zeros({features})}};
  const Decomposition d = make_decomposition(
      config, {}, "config.yaml",
      std::make_unique<Tms>(TmsConfig{.n_features = features, .n_hidden = features}, weights, Numerics{}));
  for (std::size_t i = 0; i < d.components.size(); ++i)
    at::Tensor(d.components.value(i)).copy_(at::eye(features));
  at::Tensor rows = at::zeros({600, features});
  for (std::int64_t row = 0; row < rows.size(0); ++row)
    for (std::int64_t f = 0; f < features; ++f)
      if (mix_bits(static_cast<std::uint64_t>(row * features + f)) % 10 == 0) rows[row][f] = 1.0;
  const Events events = events_of(d, GivenRows(rows), {}, 50);
  ASSERT_EQ(events.bits.columns(), 2 * features);
  const Merges merges = cluster(events.bits, {.greedy = true});  // of so few pairs draws take dear ones, too
  EXPECT_EQ(merges.groups_after(merges.best()), features);
  const std::vector<std::int32_t> groups = merges.groups_at(merges.best());
  for (std::int64_t f = 0; f < features; ++f) {
    EXPECT_EQ(groups[static_cast<std::size_t>(f)], f);
    EXPECT_EQ(groups[static_cast<std::size_t>(features + f)], f);
  }
  for (const ClusterFigures& pair : cluster_figures(events.bits, groups))
    EXPECT_DOUBLE_EQ(pair.cohesion, 1.0);
}

}  // namespace
}  // namespace vpd::testing
