// The audit against numbers of an independent program, a toy whose answer is known, and definitions.

#include "vpd/interpretation/audit.hpp"

#include "io/support.hpp"
#include "support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

/// The golden case with the importances that the interpretation's numbers were made with.
struct AuditCase : GoldenCase {
  explicit AuditCase(const std::string& name)
      : GoldenCase(name, at::kDouble), audit(test_data() / "interpretation" / name / "audit.safetensors") {
    const nlohmann::json choice =
        nlohmann::json::parse(read_text(test_data() / "interpretation" / name / "audit.json"));
    const auto read = [](const nlohmann::json& list) {
      std::vector<AuditPrompt> prompts;
      for (const auto& one : list) {
        AuditPrompt prompt{.tokens = one.at("tokens"), .target = one.at("target").get<std::int64_t>()};
        if (one.contains("contrast")) prompt.contrast = one.at("contrast").get<std::int64_t>();
        prompts.push_back(prompt);
      }
      return prompts;
    };
    behaviour = read(choice.at("for"));
    against = read(choice.at("against"));
  }
  SafetensorsFile audit;
  std::vector<AuditPrompt> behaviour, against;
};

class Audit : public ::testing::TestWithParam<const char*> {};

TEST_P(Audit, IsTheGoldenOne) {
  const AuditCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes lanes(2);
  const auto expect = [&](const at::Tensor& found, const char* name) {
    EXPECT_LT(relative_error(found, golden.audit.load(name)), 1e-6) << name;
  };
  expect(estimated_effects(d, golden.behaviour, lanes), "estimate");
  expect(estimated_effects(d, golden.against, lanes), "estimate_against");
  std::vector<std::int64_t> columns;
  for (std::int64_t c = 0; c < d.sites.total_C(); ++c) columns.push_back(c);
  const auto means = [&](const std::vector<AblationEffects>& effects, bool side) {
    double positions = 0.0;
    for (const AuditPrompt& prompt : golden.against) positions += static_cast<double>(prompt.tokens.size());
    std::vector<double> values;
    for (const AblationEffects& one : effects) {
      double sum = 0.0;
      for (const double x : side ? one.kl : one.metric) sum += x;
      values.push_back(side ? sum / positions : sum / static_cast<double>(one.metric.size()));
    }
    return at::tensor(values, at::kDouble);
  };
  const auto effects = ablation_effects(d, golden.behaviour, columns, lanes),
             sides = ablation_effects(d, golden.against, columns, lanes);
  expect(means(effects, false), "effect");
  expect(means(sides, false), "effect_against");
  expect(means(sides, true), "side");

  const PromptSplit all{golden.behaviour, golden.behaviour, false},
      others{golden.against, golden.against, false};
  const AuditResult result =
      audit(d, all, others, {.candidates = 40, .one_metric = false, .least_probability = 0.0}, lanes);
  ASSERT_EQ(result.ranking.size(), 40u);
  const at::Tensor score = golden.audit.load("score");
  for (std::size_t i = 0; i < result.ranking.size(); ++i) {
    const AuditedSubcomponent& one = result.ranking[i];
    EXPECT_NEAR(one.score, score[one.column].item<double>(), 1e-5 * std::max(1.0, std::abs(one.score)));
    EXPECT_LE(one.effect_low, one.effect);
    EXPECT_GE(one.effect_high, one.effect);
    if (i > 0) {
      EXPECT_LE(one.score, result.ranking[i - 1].score);
    }
  }
  EXPECT_THROW(audit(d, all, all, {.one_metric = false}, lanes), UsageError);
  EXPECT_THROW(audit(d, {}, others, {}, lanes), UsageError);
}
INSTANTIATE_TEST_SUITE_P(Cases, Audit, ::testing::Values("plain", "grouped"));

TEST(AuditParts, AreaUnderCurveCountsPairs) {
  EXPECT_EQ(area_under_curve({3, 4}, {1, 2}), 1.0);
  EXPECT_EQ(area_under_curve({1, 2}, {3, 4}), 0.0);
  EXPECT_EQ(area_under_curve({1, 1}, {1}), 0.5);
  EXPECT_EQ(area_under_curve({}, {1}), 0.5);
}

TEST(AuditParts, HalvesNeverMeet) {
  std::vector<AuditPrompt> prompts;
  for (std::int64_t i = 0; i < 40; ++i) prompts.push_back({.tokens = {i, i + 1}, .target = 3});
  const PromptSplit split = split_prompts(prompts);
  EXPECT_EQ(split.in_both, 0);
  EXPECT_EQ(split.select.size() + split.report.size(), prompts.size());
  EXPECT_GT(split.select.size(), 8u);
  EXPECT_GT(split.report.size(), 8u);
  for (const AuditPrompt& a : split.select)
    for (const AuditPrompt& b : split.report) EXPECT_NE(a.tokens, b.tokens);
  EXPECT_EQ(split_prompts({prompts[0]}).in_both, 1);
}

TEST(AuditParts, AFewTargetsStandInBothHalves) {
  std::vector<AuditPrompt> prompts;
  for (std::int64_t i = 0; i < 40; ++i) prompts.push_back({.tokens = {i, i + 1}});
  prompts[20].target = 3;
  const PromptSplit split = split_prompts(prompts);
  EXPECT_EQ(split.in_both, 1);
  EXPECT_EQ(split.select.size() + split.report.size(), prompts.size() + 1);
  for (const auto* half : {&split.select, &split.report})
    EXPECT_EQ(
        std::count_if(half->begin(), half->end(), [](const AuditPrompt& p) { return p.target.has_value(); }),
        1);
}

TEST(AuditParts, PromptsAreReadLineByLine) {
  const TemporaryDirectory directory;
  std::vector<std::string> warnings;
  const auto encode = [](const std::string& text) {
    return std::vector<std::int64_t>(text.begin(), text.end());
  };
  const auto read = [&](const std::string& text) {
    write_atomically(directory / "prompts.jsonl", text);
    return read_prompts(directory / "prompts.jsonl", 128, 8, encode, warnings);
  };
  const auto prompts = read(
      "{\"prompt\": \"ab\", \"target\": \"c\"}\n\n{\"tokens\": [1, 2], \"target\": 3, \"contrast\": 4, "
      "\"group\": \"x\"}\n{\"prompt\": \"q\"}\n");
  ASSERT_EQ(prompts.size(), 3u);
  EXPECT_EQ(prompts[0].target, 'c');
  EXPECT_EQ(prompts[1].contrast, 4);
  EXPECT_FALSE(prompts[2].target);
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(read("{\"prompt\": \"ab\", \"target\": \"xyz\"}")[0].target, 'x');
  EXPECT_EQ(warnings.size(), 1u);
  for (const char* wrong : {"", "3", "{}", "{\"prompt\": 3}", "{\"tokens\": [200]}", "{\"tokens\": []}",
                            "{\"prompt\": \"abcdefghi\"}", "{\"prompt\": \"a\", \"contrast\": \"b\"}",
                            "{\"prompt\": \"a\", \"target\": \"\"}"})
    EXPECT_THROW(read(wrong), DataError) << wrong;
}

}  // namespace
}  // namespace vpd::testing
