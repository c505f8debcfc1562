// Kept keys and values against passes over whole rows, and drawn tokens against the softmax.

#include "vpd/target/row_sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/targets.hpp"
#include "vpd/base/error.hpp"
#include "vpd/target/key_value_cache.hpp"

namespace vpd::testing {
namespace {

/// All of them but the one that reads features.
std::vector<std::string> language_targets() {
  std::vector<std::string> names(targets_with_blocks.begin(), targets_with_blocks.end());
  std::erase(names, "residual_mlp");
  return names;
}

at::Tensor some_tokens(const Target& target, std::int64_t B, std::int64_t T) {
  return at::arange(B * T, at::kLong)
      .mul_(at::arange(B * T, at::kLong) + 7)
      .remainder_(target.vocabulary_size())
      .view({B, T});
}

at::Tensor plain_logits(const Target& target, const at::Tensor& tokens) {
  PlainExecutor plain;
  return target.forward(tokens, plain);
}

class LanguageTargets : public ::testing::TestWithParam<std::string> {};

TEST_P(LanguageTargets, KeptKeysAndValuesGiveTheLogitsOfWholeRows) {
  const at::NoGradGuard no_grad;
  for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
    const std::unique_ptr<Target> target =
        target_with_blocks(GetParam(), {.device = at::kCPU, .compute = type, .wide = type});
    const std::int64_t B = 3, T = target->longest_sequence();
    const at::Tensor tokens = some_tokens(*target, B, T),
                     whole = plain_logits(*target, tokens).view({B, T, -1});
    const double relative = type == at::kDouble ? 1e-12 : 1e-5;
    KeyValueCache cache(B, T);
    // Several at once at the beginning, one, several behind others, and then one by one.
    for (const std::int64_t step : {2, 1, 4}) {
      const std::int64_t begin = cache.length();
      const at::Tensor logits =
          target->forward(tokens.narrow(1, begin, step), cache, {.position = begin}).view({B, step, -1});
      const at::Tensor expected = whole.narrow(1, begin, step);
      if (begin == 0) {
        const at::Tensor alone = plain_logits(*target, tokens.narrow(1, 0, step)).view({B, step, -1});
        expect_identical(logits, alone, "the first pass");
      }
      expect_close(logits, expected, {.absolute = relative * expected.abs().max().item<double>()},
                   std::string(at::toString(type)) + " from position " + std::to_string(begin));
    }
    while (cache.length() < T) {
      const std::int64_t t = cache.length();
      const at::Tensor expected = whole.select(1, t);
      expect_close(cache.next_logits(*target, tokens.narrow(1, t, 1)), expected,
                   {.absolute = relative * expected.abs().max().item<double>()},
                   std::string(at::toString(type)) + " at position " + std::to_string(t));
    }
    EXPECT_EQ(cache.length(), T);
    EXPECT_THROW(cache.next_logits(*target, tokens.narrow(1, 0, 1)), UsageError) << "longer than it takes";
  }
}

TEST_P(LanguageTargets, TheMostProbableTokensAreThoseOfPlainPasses) {
  const std::unique_ptr<Target> target = target_with_blocks(GetParam(), {});
  const std::int64_t B = 2, T = target->longest_sequence();
  const at::Tensor rows =
      sample_rows(*target, {.length = T, .beginning = {5, 3}, .choice = {.temperature = 0.0}}, 0, B);
  at::Tensor expected = at::tensor({5, 3}, at::kLong).expand({B, 2});
  while (expected.size(1) < T) {
    const at::Tensor last = plain_logits(*target, expected).view({B, expected.size(1), -1}).select(1, -1);
    expected = at::cat({expected, last.argmax(1, /*keepdim=*/true)}, 1);
  }
  EXPECT_TRUE(rows.equal(expected)) << rows << expected;
}

TEST_P(LanguageTargets, ARowIsAFunctionOfItsNumber) {
  const std::unique_ptr<Target> target = target_with_blocks(GetParam(), {});
  const RowSampling sampling{.length = 11, .beginning = {1}, .choice = {.top_p = 0.95}, .seed = 5};
  const at::Tensor rows = sample_rows(*target, sampling, 0, 12);
  EXPECT_TRUE(sample_rows(*target, sampling, 0, 5).equal(rows.narrow(0, 0, 5)));
  EXPECT_TRUE(sample_rows(*target, sampling, 5, 7).equal(rows.narrow(0, 5, 7)));
  for (const std::int64_t row : {0, 6, 11})
    EXPECT_TRUE(sample_rows(*target, sampling, row, 1)[0].equal(rows[row])) << "row " << row;
  RowSampling shorter = sampling;
  shorter.length = 4;
  EXPECT_TRUE(sample_rows(*target, shorter, 0, 12).equal(rows.narrow(1, 0, 4)));
  RowSampling other = sampling;
  other.seed = 6;
  EXPECT_FALSE(sample_rows(*target, other, 0, 12).equal(rows));
  EXPECT_GT(std::get<0>(at::unique_dim(rows, 0)).size(0), 9) << "rows differ from each other";
}

INSTANTIATE_TEST_SUITE_P(Targets, LanguageTargets, ::testing::ValuesIn(language_targets()),
                         [](const auto& one) { return one.param; });

TEST(KeyValueCache, RefusesWhatItCannotKeep) {
  const at::NoGradGuard no_grad;
  const std::unique_ptr<Target> target = target_with_blocks("llama", {});
  KeyValueCache cache(2, 5);
  EXPECT_THROW(cache.next_logits(*target, some_tokens(*target, 3, 2)), UsageError) << "three rows";
  KeyValueCache small(2, 5);
  small.next_logits(*target, some_tokens(*target, 2, 4));
  EXPECT_THROW(small.next_logits(*target, some_tokens(*target, 2, 2)), UsageError) << "six tokens";
  const at::Tensor x = at::zeros({4, 8});
  EXPECT_THROW(small.attention({.q = x, .k = x, .v = x, .B = 2, .heads = 2, .key_heads = 2, .causal = false}),
               UsageError);
}

/// χ² of counts against probabilities, tokens that are expected less than five times together; and what one
/// in ten thousand exceeds, nearly.
void expect_distribution(const std::vector<std::int64_t>& tokens, const at::Tensor& probabilities,
                         const std::string& what) {
  std::map<std::int64_t, double> counts;
  for (const std::int64_t token : tokens) counts[token] += 1.0;
  const auto N = static_cast<double>(tokens.size());
  double chi = 0.0, rare = 0.0, rare_count = 0.0;
  int cells = 0;
  const auto add = [&](double count, double expected) {
    chi += (count - expected) * (count - expected) / expected;
    ++cells;
  };
  for (std::int64_t v = 0; v < probabilities.size(0); ++v) {
    const double expected = N * probabilities[v].item<double>();
    if (expected == 0.0) {
      EXPECT_EQ(counts[v], 0.0) << what << ": token " << v;
    } else if (expected >= 5.0) {
      add(counts[v], expected);
    } else {
      rare += expected;
      rare_count += counts[v];
    }
  }
  if (rare > 0.0) add(rare_count, rare);
  ASSERT_GE(cells, 2) << what;
  const double freedom = cells - 1;
  EXPECT_LT(chi, freedom + 4.0 * std::sqrt(2.0 * freedom) + 6.0)
      << what << ", " << freedom << " degrees of freedom";
}

std::vector<std::int64_t> column(const at::Tensor& rows, std::int64_t t) {
  const at::Tensor values = rows.select(1, t).contiguous();
  return {values.const_data_ptr<std::int64_t>(), values.const_data_ptr<std::int64_t>() + values.numel()};
}

/// The probabilities behind a row, by the plain pass.
at::Tensor probabilities_behind(const Target& target, const std::vector<std::int64_t>& row,
                                double temperature) {
  const at::NoGradGuard no_grad;
  return (plain_logits(target, at::tensor(row, at::kLong).unsqueeze(0))[-1].to(at::kDouble) / temperature)
      .softmax(0);
}

TEST(Sampling, TokensAreDistributedAsTheSoftmaxSays) {
  const std::unique_ptr<Target> target = target_with_blocks("plain", {});
  for (const double temperature : {1.0, 0.4, 3.0}) {
    const at::Tensor rows = sample_rows(
        *target, {.length = 3, .beginning = {9}, .choice = {.temperature = temperature}, .seed = 1}, 0,
        30'000);
    const std::string what = "temperature " + std::to_string(temperature);
    const at::Tensor p = probabilities_behind(*target, {9}, temperature);
    expect_distribution(column(rows, 1), p, what);
    // And behind the most frequent of these.
    const std::int64_t most = p.argmax().item<std::int64_t>();
    const at::Tensor those = rows.index_select(0, rows.select(1, 1).eq(most).nonzero().squeeze(1));
    expect_distribution(column(those, 2), probabilities_behind(*target, {9, most}, temperature),
                        what + ", next");
  }
}

TEST(Sampling, FirstTokensAreUniformWithoutABeginning) {
  const std::unique_ptr<Target> target = target_with_blocks("gpt2", {});
  const std::int64_t V = target->vocabulary_size();
  const at::Tensor rows = sample_rows(*target, {.length = 2, .seed = 4}, 0, 6000);
  expect_distribution(column(rows, 0), at::full({V}, 1.0 / static_cast<double>(V), at::kDouble), "the first");
  EXPECT_EQ(sample_rows(*target, {.length = 1, .seed = 4}, 0, 6000).size(1), 1);
}

TEST(Sampling, TopPIsTheNucleusAndNothingElse) {
  const at::Tensor logits = uniform_values({1, 40}, 3, -2.0, 2.0), p = logits[0].softmax(0);
  const auto [sorted, order] = p.sort(/*stable=*/true, 0, /*descending=*/true);
  for (const double top_p : {0.01, 0.3, 0.75, 0.99}) {
    at::Tensor nucleus = at::zeros({40}, at::kDouble);
    double together = 0.0;
    for (std::int64_t i = 0; i < 40 && together < top_p; ++i) {
      nucleus[order[i].item<std::int64_t>()] = sorted[i];
      together += sorted[i].item<double>();
    }
    constexpr std::int64_t N = 20'000;
    std::vector<DrawPlace> places;
    for (std::int64_t i = 0; i < N; ++i) places.push_back({.seed = 2, .row = static_cast<std::uint64_t>(i)});
    const std::vector<std::int64_t> tokens = choose_tokens(logits.expand({N, 40}), {.top_p = top_p}, places);
    if (top_p == 0.01) {
      EXPECT_EQ(std::set<std::int64_t>(tokens.begin(), tokens.end()),
                std::set{order[0].item<std::int64_t>()});
    } else {
      expect_distribution(tokens, nucleus / together, "top p " + std::to_string(top_p));
    }
  }
}

TEST(Sampling, OfEqualsTheFirstComesFirst) {
  const at::Tensor logits = at::tensor({0.2, 0.2, 0.4, 0.2}, at::kDouble).log().unsqueeze(0);
  std::set<std::int64_t> drawn;
  for (std::uint64_t row = 0; row < 200; ++row)
    drawn.insert(choose_tokens(logits, {.top_p = 0.55}, {{.row = row}}).front());
  EXPECT_EQ(drawn, (std::set<std::int64_t>{0, 2}));
  EXPECT_EQ(choose_tokens(at::zeros({2, 5}), {.temperature = 0.0}, {{}, {}}),
            (std::vector<std::int64_t>{0, 0}));
}

TEST(Sampling, EndsOfTheRangesAreTaken) {
  const at::Tensor logits = at::tensor({1e4, -1e4, 9.9e3}, at::kDouble).unsqueeze(0);
  for (const double temperature : {1e-300, 1e-3, 1.0})
    EXPECT_EQ(choose_tokens(logits, {.temperature = temperature}, {{}}), std::vector<std::int64_t>{0});
  const double infinity = std::numeric_limits<double>::infinity();
  const at::Tensor some = at::tensor({-infinity, 0.0, -infinity, 0.0, -infinity}, at::kDouble).unsqueeze(0);
  std::set<std::int64_t> drawn;
  for (std::uint64_t row = 0; row < 50; ++row) drawn.insert(choose_tokens(some, {}, {{.row = row}}).front());
  EXPECT_EQ(drawn, (std::set<std::int64_t>{1, 3}));
  for (const double temperature : {0.0, 0.5, 1.0})
    EXPECT_THROW(choose_tokens(at::full({1, 3}, std::nan("")), {.temperature = temperature}, {{}}),
                 NumericalError);
  EXPECT_THROW(choose_tokens(logits, {}, {}), UsageError);
}

TEST(Sampling, RoundingRarelyChangesATokenAmongManyRareOnes) {
  // 50,000 tokens of which most are rarer than what logits are rounded by.
  constexpr std::int64_t V = 50'000, N = 400;
  const at::Tensor logits = uniform_values({V}, 5, -8.0, 0.0),
                   rounded = logits + 1e-5 * uniform_values({V}, 6);
  int different = 0;
  for (std::uint64_t row = 0; row < N; ++row) {
    const std::vector<DrawPlace> place = {{.seed = 1, .row = row}};
    different +=
        choose_tokens(logits.unsqueeze(0), {}, place) != choose_tokens(rounded.unsqueeze(0), {}, place);
  }
  EXPECT_LE(different, 1);
}

TEST(Sampling, SeedRowAndPositionEachMakeOtherDraws) {
  const at::Tensor flat = at::zeros({1, 1'000'000});
  std::set<std::int64_t> drawn;
  for (std::uint64_t seed = 0; seed < 2; ++seed)
    for (std::uint64_t row = 0; row < 3; ++row)
      for (std::uint64_t position = 0; position < 3; ++position)
        drawn.insert(choose_tokens(flat, {}, {{seed, row, position}}).front());
  EXPECT_EQ(drawn.size(), 18u);
}

TEST(Sampling, RefusesRowsThatCannotBe) {
  const std::unique_ptr<Target> target = target_with_blocks("llama", {}),
                                toy = target_with_blocks("residual_mlp", {});
  const std::int64_t longest = target->longest_sequence(), V = target->vocabulary_size();
  EXPECT_NO_THROW(check_sampling(*target, {.length = longest, .beginning = {0, V - 1}}));
  EXPECT_THROW(check_sampling(*target, {.length = longest + 1}), UsageError);
  EXPECT_THROW(check_sampling(*target, {.length = 0}), UsageError);
  EXPECT_THROW(check_sampling(*target, {.length = 2, .beginning = {1, 2}}), UsageError);
  EXPECT_THROW(check_sampling(*target, {.length = 5, .beginning = {V}}), UsageError);
  EXPECT_THROW(check_sampling(*target, {.length = 5, .beginning = {-1}}), UsageError);
  EXPECT_THROW(check_sampling(*toy, {.length = 1}), UsageError);
  int asked = 0;
  EXPECT_THROW(sample_rows(*target, {.length = 9, .beginning = {1}}, 0, 2,
                           [&](std::int64_t t) {
                             EXPECT_EQ(t, ++asked);
                             end_if_asked([&] { return asked == 3; }, "the sampling");
                           }),
               Interrupted);
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace vpd::testing
