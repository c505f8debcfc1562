// Importances of one prompt, against numbers of an independent program and a toy whose answer is known.

#include "vpd/interpretation/prompt_importance.hpp"

#include <cmath>

#include "support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd::testing {
namespace {

/// Draws that a file holds.
class GivenDraws final : public PruneDraws {
 public:
  explicit GivenDraws(const SafetensorsFile& file) : file_(file) {}
  DrawnSources01 stochastic(std::int64_t step) const override {
    return {of("stochastic")[step], of("stochastic_delta")[step]};
  }
  at::Tensor start(std::int64_t step) const override { return of("start")[step]; }
  DrawnSources01 rest(std::int64_t step, std::int64_t ascent) const override {
    return {of("rest")[step][ascent], of("rest_delta")[step][ascent]};
  }

 private:
  at::Tensor of(const std::string& name) const { return file_.load("draw/" + name).to(at::kDouble); }
  const SafetensorsFile& file_;
};

struct ImportanceCase : GoldenCase {
  explicit ImportanceCase(const std::string& name)
      : GoldenCase(name, at::kDouble),
        folder(test_data() / "interpretation" / name),
        expected_values(folder / "importance.safetensors") {
    decomposition.ci_parameters.load(folder / "causal_importance.safetensors");
    decomposition.ci_parameters.refresh();
    const nlohmann::json choice = nlohmann::json::parse(read_text(folder / "case.json"));
    prompt = at::tensor(choice.at("prompt").get<std::vector<std::int64_t>>(), at::kLong);
    const auto& optimisation = choice.at("optimisation");
    for (const auto& target : optimisation.at("targets"))
      targets.push_back({target.at("at"), target.at("token").is_null()
                                              ? std::nullopt
                                              : std::optional(target.at("token").get<std::int64_t>())});
    settings = {.steps = static_cast<std::int64_t>(optimisation.at("rates").size()),
                .rate = optimisation.at("rates")[0],
                .cosine = false,
                .coefficient = optimisation.at("coefficient"),
                .p = optimisation.at("p"),
                .ascents = optimisation.at("ascents"),
                .ascent_rate = optimisation.at("ascent_rate")};
  }
  std::filesystem::path folder;
  SafetensorsFile expected_values;
  at::Tensor prompt;
  std::vector<OutputTarget> targets;
  PruneSettings settings;
};

class PromptImportances : public ::testing::TestWithParam<const char*> {};

TEST_P(PromptImportances, AreTheGoldenOnes) {
  const ImportanceCase golden(GetParam());
  const GivenDraws draws(golden.expected_values);
  std::vector<PruneStep> steps;
  const PromptImportance found =
      optimise_importance(golden.decomposition, golden.prompt, golden.targets, golden.settings, {}, &draws,
                          [&](const PruneStep& step) { steps.push_back(step); });
  ASSERT_EQ(steps.size(), 3u);
  const auto expected = [&](const char* name) { return golden.expected_values.load(name).to(at::kDouble); };
  for (std::int64_t i = 0; i < 3; ++i) {
    const PruneStep& step = steps[static_cast<std::size_t>(i)];
    EXPECT_LT(relative_error(step.stochastic, expected("stochastic")[i].item<double>()), 1e-5) << i;
    EXPECT_LT(relative_error(step.adversarial, expected("adversarial")[i].item<double>()), 1e-5) << i;
    EXPECT_LT(relative_error(step.penalty, expected("penalty")[i].item<double>()), 1e-5) << i;
    EXPECT_LT(relative_error(step.total, expected("total")[i].item<double>()), 1e-5) << i;
    EXPECT_LT(relative_error(step.gradient, expected("gradient")[i]), 1e-5) << i;
    EXPECT_LT(relative_error(step.z, expected("z")[i]), 1e-5) << i;
    const at::Tensor off = (step.sources - expected("sources")[i]).abs().gt(1e-3);
    EXPECT_LT(off.to(at::kDouble).mean().item<double>(), 0.01) << i;
  }
  const PruneVerdict verdict = judge_importance(golden.decomposition, golden.prompt, golden.targets, found,
                                                PruneMasks::adversarial, {.samples = 4, .starts = 1});
  const at::Tensor wanted = expected("verdict");
  const std::vector<double> D = {verdict.target.D, verdict.unmasked.D, verdict.importance.D,
                                 verdict.rounded.D, verdict.zeroed.D};
  for (std::size_t i = 0; i < D.size(); ++i)
    EXPECT_LT(relative_error(D[i], wanted[static_cast<std::int64_t>(i)].item<double>()), 1e-5) << i;
}
INSTANTIATE_TEST_SUITE_P(Cases, PromptImportances, ::testing::Values("plain", "grouped"));

TEST(PromptImportance, DrawsDependOnTheirNumbersAlone) {
  const ImportanceCase golden("plain");
  const auto draws = random_prune_draws(golden.decomposition, 9, {.seed = 4});
  const auto again = random_prune_draws(golden.decomposition, 9, {.seed = 4});
  EXPECT_TRUE(at::equal(draws->rest(3, 2).columns, again->rest(3, 2).columns));
  EXPECT_FALSE(at::equal(draws->rest(3, 2).columns, draws->rest(3, 3).columns));
  EXPECT_FALSE(at::equal(draws->rest(3, 2).delta.select(1, 0), draws->rest(3, 2).columns.select(1, 0)));
  EXPECT_FALSE(at::equal(draws->stochastic(1).columns, draws->start(1)));
  const at::Tensor values = draws->stochastic(7).columns;
  EXPECT_GE(values.min().item<double>(), 0.0);
  EXPECT_LT(values.max().item<double>(), 1.0);
  // 9 · 282 uniform numbers: the mean is within five standard errors.
  EXPECT_NEAR(values.mean().item<double>(), 0.5,
              5 * std::sqrt(1.0 / 12.0 / static_cast<double>(values.numel())));
  const auto none = random_prune_draws(golden.decomposition, 9, {.random_rest = false});
  EXPECT_EQ(none->rest(0, 0).columns.abs().sum().item<double>(), 0.0);
}

TEST(PromptImportance, KeepsMoreAgainstAnAdversaryAndSaysWhatItIsWorth) {
  const ImportanceCase golden("plain");
  const std::vector<OutputTarget> targets = {{.at = 8, .token = 46}};
  PruneSettings settings{.steps = 150, .rate = 0.05, .coefficient = 0.02};
  const PromptImportance adversarial =
      optimise_importance(golden.decomposition, golden.prompt, targets, settings);
  settings.masks = PruneMasks::importance;
  const PromptImportance alone = optimise_importance(golden.decomposition, golden.prompt, targets, settings);
  EXPECT_LT(adversarial.kept, adversarial.alive);
  EXPECT_GE(adversarial.kept, alone.kept);
  EXPECT_LT(alone.kept, alone.alive);
  EXPECT_EQ(adversarial.before.gt(0.0).sum().item<std::int64_t>(), adversarial.alive);
  EXPECT_EQ(static_cast<std::int64_t>(alone.columns().size()),
            alone.after.gt(0.0).any(0).sum().item<std::int64_t>());
  const auto judged = [&](const PromptImportance& found, PruneMasks masks) {
    return judge_importance(golden.decomposition, golden.prompt, targets, found, masks,
                            {.tolerance = 100.0, .samples = 8});
  };
  EXPECT_TRUE(judged(adversarial, PruneMasks::adversarial).faithful);
  const PruneVerdict unfaithful = judged(alone, PruneMasks::importance);
  EXPECT_FALSE(unfaithful.faithful);
  EXPECT_NE(unfaithful.reason.find("importance"), std::string::npos);
  EXPECT_LE(judged(adversarial, PruneMasks::adversarial).adversarial_long.D,
            unfaithful.adversarial_long.D + 0.5);
}

TEST(PromptImportance, RefusesWhatIsNotThere) {
  const ImportanceCase golden("plain");
  const auto explain = [&](const std::vector<OutputTarget>& targets) {
    return optimise_importance(golden.decomposition, golden.prompt, targets, {.steps = 1});
  };
  EXPECT_THROW(explain({}), UsageError);
  EXPECT_THROW(explain({{.at = 9}}), UsageError);
  EXPECT_THROW(explain({{.at = 8, .token = 61}}), UsageError);
  EXPECT_THROW(parse_prune_masks("adversary"), UsageError);
  EXPECT_EQ(parse_prune_masks("stochastic"), PruneMasks::stochastic);
}

}  // namespace
}  // namespace vpd::testing
