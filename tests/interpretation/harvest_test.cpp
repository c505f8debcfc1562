// Counts, scores, examples and files of a harvest, against what can be said by hand.

#include <cmath>
#include <map>
#include <set>

#include "identity_toy.hpp"
#include "interpretation/harvest_state.hpp"
#include "io/support.hpp"
#include "support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd::testing {
namespace {

constexpr std::int64_t A = 3, B = 5, C = 7;  // tokens

/// 0 fires at A with +, 1 at A with + and at B with -, 2 at C with both signs in no token of its own, 3
/// never.
at::Tensor vectors(std::int64_t vocabulary) {
  at::Tensor V = at::zeros({vocabulary, 4});
  V[A][0] = 1.0;
  V[A][1] = 1.0;
  V[B][1] = -1.0;
  V[C][2] = 1.0;
  return V;
}

std::int64_t vocabulary() {
  std::vector<std::string> warnings;
  static const std::int64_t size =
      describe_target(load_run_config(test_data() / "plain" / "config.yaml").target, warnings).output_width;
  return size;
}

at::Tensor whole(const std::vector<std::int64_t>& numbers) { return at::tensor(numbers, at::kLong); }

at::Tensor rows() { return whole({A, B, C, A, 1, 2, A, A, 1, 2, 4, B, 1, 1, 2, 4, B, C}).view({3, 6}); }

const TokenScore& of_token(const std::vector<TokenScore>& tokens, std::int64_t token) {
  const auto found =
      std::find_if(tokens.begin(), tokens.end(), [&](const TokenScore& t) { return t.token == token; });
  EXPECT_NE(found, tokens.end()) << "token " << token;
  return *found;
}

TEST(Harvest, CountsWhatCanBeCountedByHand) {
  const Decomposition d = embedding_case(vectors(vocabulary()));
  const TemporaryDirectory directory;
  const Harvest harvest = harvested(d, GivenRows(rows()), {}, 2);
  const Evidence evidence = evidence_of(harvest, d, 6, directory / "harvest");
  EXPECT_EQ(harvest.positions(), 18);
  EXPECT_EQ(evidence.alive(), (std::vector<std::int32_t>{0, 1, 2}));

  const SubcomponentFacts both = evidence.facts(1);
  EXPECT_EQ(both.firings, 7);  // A four times, B three times
  EXPECT_EQ(both.positive_firings, 4);
  EXPECT_EQ(both.negative_firings, 3);
  EXPECT_EQ(both.rows, 3);
  EXPECT_EQ(both.sign, 1);
  EXPECT_NEAR(both.mean_activation, 1.0 / 7.0, 1e-6);
  EXPECT_NEAR(both.mean_importance, 7.0 / 18.0, 1e-6);
  EXPECT_NEAR(both.sign_balance, 3.0 / 7.0, 1e-6);
  EXPECT_NEAR(both.sign_divergence[0], 1.0, 1e-6) << "other tokens for each sign";

  const std::vector<TokenScore> tokens = evidence.tokens(1, TokenSide::input);
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(of_token(tokens, A).count, 4);
  EXPECT_EQ(of_token(tokens, A).positive, 4);
  EXPECT_EQ(of_token(tokens, B).positive, 0);
  EXPECT_NEAR(of_token(tokens, B).scores.recall, 3.0 / 7.0, 1e-12);
  EXPECT_NEAR(of_token(tokens, B).scores.precision, 1.0, 1e-12);
  EXPECT_NEAR(of_token(tokens, B).scores.pmi, std::log(18.0 / 7.0), 1e-12);
  EXPECT_TRUE(evidence.tokens(3, TokenSide::input).empty());

  const std::vector<PartnerScore> partners = evidence.partners(0);
  ASSERT_EQ(partners.size(), 1u);
  EXPECT_EQ(partners[0].column, 1);
  EXPECT_EQ(partners[0].together, 4);
  EXPECT_NEAR(partners[0].scores.jaccard, 4.0 / 7.0, 1e-12);

  const std::vector<std::int64_t> positions = evidence.position_firings(0);
  EXPECT_EQ(positions[0], 2);  // the first position of two rows
  EXPECT_EQ(positions[1], 1);
  EXPECT_EQ(positions[3], 1);
  EXPECT_EQ(evidence.importance_histogram(0).at(20), 4);
  EXPECT_EQ(evidence.importance_histogram(0).at(0), 14);
}

TEST(Harvest, WindowsEndWhereRowsDo) {
  const Decomposition d = embedding_case(vectors(vocabulary()));
  const TemporaryDirectory directory;
  HarvestSettings settings;
  settings.window = 2;
  const Evidence evidence =
      evidence_of(harvested(d, GivenRows(rows()), settings), d, 6, directory / "harvest");
  std::map<std::int64_t, FiringExample> by_row;
  for (const FiringExample& one : evidence.examples(2)) by_row[one.row] = one;
  EXPECT_EQ(by_row.at(0).position, 2);
  EXPECT_EQ(by_row.at(0).tokens, (std::vector<std::int32_t>{A, B, C, A, 1}));
  EXPECT_EQ(by_row.at(2).position, 5);
  EXPECT_EQ(by_row.at(2).tokens, (std::vector<std::int32_t>{4, B, C, -1, -1}));
  EXPECT_EQ(by_row.at(2).importance, (std::vector<float>{0, 0, 1, 0, 0}));
  for (const FiringExample& one : evidence.examples(0)) {
    if (one.position == 0) {
      EXPECT_EQ(one.tokens[0], -1);
    }
    EXPECT_EQ(one.tokens[2], A);
  }
}

TEST(Harvest, FlagsTwoRolesOnly) {
  // Many rows of A and B; 1 fires at both with one sign each, 2 at C with one sign.
  std::vector<std::int64_t> tokens;
  for (int i = 0; i < 40; ++i) tokens.insert(tokens.end(), {A, 1, B, C, A, B});
  const at::Tensor many = whole(tokens).view({40, 6});
  const Decomposition d = embedding_case(vectors(vocabulary()));
  const TemporaryDirectory directory;
  const Evidence evidence = evidence_of(harvested(d, GivenRows(many), {}, 8), d, 6, directory / "harvest");
  EXPECT_TRUE(evidence.facts(1).polysemantic);
  EXPECT_FALSE(evidence.facts(0).polysemantic);
  EXPECT_FALSE(evidence.facts(2).polysemantic);
  EXPECT_NEAR(evidence.facts(1).null_divergence[0], 0.0, 1e-6)
      << "both halves of the rows have the same tokens";
}

TEST(Harvest, DoesNotDependOnTheOrderOfRows) {
  const GoldenCase golden("plain", at::kFloat);
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, false, 0);
  const Decomposition& d = golden.decomposition;
  HarvestSettings settings;
  settings.examples = 3;
  settings.strongest = 2;
  for (const std::int64_t outputs : {0, 5}) {
    settings.output_tokens = outputs;
    const TemporaryDirectory directory;
    const auto written = [&](const char* name, const Harvest& harvest) {
      static_cast<void>(evidence_of(harvest, d, tokens.length(), directory / name));
      return directory / name;
    };
    const auto whole = written("whole", harvested(d, tokens, settings, 3));
    Harvest parts = harvested(d, tokens, settings, 3, 1, 2, 4);
    for (const int shard : {0, 3, 1}) parts.merge(harvested(d, tokens, settings, 3, 1, shard, 4));
    expect_same_tables(whole, written("parts", parts));

    // Kept in a file in the middle and gone on with, the same.
    const std::filesystem::path state = directory / "state";
    std::filesystem::create_directories(state);
    harvested(d, tokens, settings, 3, 1, 0, 2).save(state);
    Harvest again(d, tokens.length(), settings);
    again.load(state);
    again.merge(harvested(d, tokens, settings, 3, 1, 1, 2));
    expect_same_tables(whole, written("again", again));

    // Other lanes and batches: products of other shapes may round otherwise, whole numbers are the same.
    const auto other = written("other", harvested(d, tokens, settings, 7, 2));
    for (const char* name : {"input_tokens.safetensors", "coactivation.safetensors"})
      EXPECT_TRUE(read_text(whole / name) == read_text(other / name)) << name;
  }
}

TEST(Harvest, IsWhatDoubleLoopsSay) {
  const GoldenCase golden("plain", at::kDouble);
  const Decomposition& d = golden.decomposition;
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset all(data.path, data.sequence_length, false, 0);
  const at::Tensor some = all.batch(0, 3).narrow(1, 0, 7).contiguous();
  const TemporaryDirectory directory;
  HarvestSettings settings;
  settings.threshold = 0.2;
  const Evidence evidence = evidence_of(harvested(d, GivenRows(some), settings), d, 7, directory / "harvest");

  const CleanPass clean = clean_pass(d, some);
  const Importance importance = causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({}));
  const at::Tensor g = importance.lower, p = clean.output.softmax(1), tokens = some.flatten();
  std::vector<at::Tensor> a;
  for (std::size_t i = 0; i < d.sites.size(); ++i)
    a.push_back(clean.inputs[i].matmul(d.components.V(i)) * d.components.U(i).norm(2, {1}));
  const at::Tensor activation = at::cat(a, 1);
  std::int64_t checked = 0;
  for (std::int64_t c = 0; c < d.sites.total_C(); ++c) {
    std::map<std::int64_t, double> input, output;
    std::map<std::int64_t, std::int64_t> together;
    double firings = 0.0, sum = 0.0, least = 0.0, most = 0.0, mean = 0.0;
    for (std::int64_t n = 0; n < 21; ++n) {
      mean += g[n][c].item<double>() / 21.0;
      if (g[n][c].item<double>() <= settings.threshold) continue;
      const double value = activation[n][c].item<double>();
      least = firings == 0.0 ? value : std::min(least, value);
      most = firings == 0.0 ? value : std::max(most, value);
      firings += 1.0;
      sum += value;
      input[tokens[n].item<std::int64_t>()] += 1.0;
      for (std::int64_t v = 0; v < p.size(1); ++v) output[v] += p[n][v].item<double>();
      for (std::int64_t other = 0; other < d.sites.total_C(); ++other)
        if (other != c && g[n][other].item<double>() > settings.threshold) ++together[other];
    }
    const SubcomponentFacts facts = evidence.facts(c);
    EXPECT_EQ(facts.firings, static_cast<std::int64_t>(firings));
    EXPECT_NEAR(facts.mean_importance, mean, 1e-6);
    if (firings == 0.0) continue;
    ++checked;
    EXPECT_NEAR(facts.mean_activation * firings, sum, 1e-5);
    EXPECT_NEAR(facts.activation_min, least, 1e-5);
    EXPECT_NEAR(facts.activation_max, most, 1e-5);
    for (const TokenScore& token : evidence.tokens(c, TokenSide::input))
      EXPECT_EQ(token.count, input[token.token]);
    for (const TokenScore& token : evidence.tokens(c, TokenSide::output))
      EXPECT_NEAR(token.count, output[token.token], 1e-5 * firings);
    std::int64_t partners = 0;
    for (const PartnerScore& partner : evidence.partners(c)) {
      EXPECT_EQ(partner.together, together[partner.column]);
      ++partners;
    }
    EXPECT_EQ(partners, static_cast<std::int64_t>(together.size()));
    if (checked == 12) break;
  }
  EXPECT_GE(checked, 5);
}

TEST(Harvest, KeepsFiringsWithoutAnActivation) {
  // U of 0: importance 1 at A and an activation of 0, which has no sign and is the least of all strengths.
  Decomposition d = embedding_case(vectors(vocabulary()));
  at::Tensor(d.components.U(0)).zero_();
  d.components.refresh();
  const Harvest harvest = harvested(d, GivenRows(rows()), {});
  const HarvestColumn& column = harvest.state().columns[0];
  EXPECT_EQ(column.zero, 4);
  EXPECT_EQ(column.firings(), 4);
  const auto kept = [&](ExampleKind kind) {
    return column.examples[static_cast<std::size_t>(kind)].kept().size();
  };
  EXPECT_EQ(kept(ExampleKind::random_positive), 0u);
  EXPECT_EQ(kept(ExampleKind::random_negative), 0u);
  EXPECT_EQ(kept(ExampleKind::strongest), 2u) << "one of each row where it fires";
}

TEST(Harvest, DrawsEachFiringAsOften) {
  // One firing of 0 in each of eight rows: over many seeds each is the one that is kept equally often.
  const at::Tensor eight = at::full({8, 6}, 1, at::kLong);
  for (std::int64_t row = 0; row < 8; ++row) eight[row][row % 6] = A;
  const Decomposition d = embedding_case(vectors(vocabulary()));
  const GivenRows data(eight);
  Lanes pool(1);
  const BatchReader reader(d, data, pool, {.rows = 8});
  const Batch batch = reader.read(0);
  std::vector<double> chosen(8);
  constexpr int seeds = 2000;
  for (int seed = 0; seed < seeds; ++seed) {
    Harvest harvest(
        d, 6, {.examples = 1, .strongest = 0, .output_tokens = 1, .seed = static_cast<std::uint64_t>(seed)});
    harvest.add(batch);
    const auto& kept = harvest.state().columns[0].examples[0].kept();
    ASSERT_EQ(kept.size(), 1u);
    chosen[static_cast<std::size_t>(kept[0].row)] += 1.0;
  }
  double chi = 0.0;
  for (const double count : chosen) chi += (count - seeds / 8.0) * (count - seeds / 8.0) / (seeds / 8.0);
  EXPECT_LT(chi, 24.3) << "seven degrees of freedom, one in a thousand";
}

TEST(Harvest, FeaturesAreTheTokensOfToys) {
  // Three features, read apart: each subcomponent of linear1 fires at its own.
  const Decomposition d = identity_toy(3);
  const at::Tensor features =
      at::tensor({1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 1.0f, 0.0f, 1.0f, 0.0f, 1.0f, 0.0f, 1.0f}).view({4, 3});
  const TemporaryDirectory directory;
  const Evidence evidence = evidence_of(harvested(d, GivenRows(features), {}), d, 1, directory / "harvest");
  EXPECT_FALSE(evidence.has_outputs());
  for (std::int64_t c = 0; c < 3; ++c) {
    const std::vector<TokenScore> tokens = evidence.tokens(c, TokenSide::input);
    EXPECT_EQ(of_token(tokens, c).scores.precision, 1.0);
    EXPECT_EQ(of_token(tokens, c).scores.recall, 1.0);
    for (const TokenScore& other : tokens) {
      if (other.token != c) {
        EXPECT_LT(other.scores.recall, 1.0);
      }
    }
    EXPECT_TRUE(evidence.lens(c).empty());
  }
}

}  // namespace
}  // namespace vpd::testing
