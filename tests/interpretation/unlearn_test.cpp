// Unlearning: a target whose answer is known, the parts against their definitions, and the curves by hand.

#include "vpd/interpretation/unlearn.hpp"

#include "interpretation/given_masks.hpp"
#include "interpretation/prompt_losses.hpp"
#include "interpretation/relearning.hpp"
#include "interpretation/statistics.hpp"
#include "interpretation/unlearn_baselines.hpp"
#include "interpretation/unlearn_choice.hpp"
#include "io/support.hpp"
#include "support.hpp"
#include "support/golden.hpp"
#include "vpd/base/error.hpp"
#include "vpd/interpretation/prompt_importance.hpp"
#include "vpd/interpretation/redundancy.hpp"

namespace vpd::testing {
namespace {

at::Tensor last_logits(const Decomposition& d, const AuditPrompt& prompt) {
  const at::NoGradGuard no_grad;
  PlainExecutor plain;
  return d.target->forward(at::tensor(prompt.tokens, at::kLong).unsqueeze(0), plain)[-1];
}

/// Prompts of two tokens; subcomponent c writes the whole embedding of token c, so that without it the target
/// cannot tell that this token was there.
class PlantedToken : public ::testing::Test {
 protected:
  static constexpr std::int64_t planted = 3, known = 8;  // tokens that have a subcomponent

  PlantedToken() {
    at::Tensor V = at::zeros({d.sites[0].d_in, known});
    for (std::int64_t c = 0; c < known; ++c) V[c][c] = 1.0;
    at::Tensor(d.components.V(0)).copy_(V);
    at::Tensor(d.components.U(0)).copy_(d.matrix(0).table().value.narrow(0, 0, known));
    d.components.refresh();
    // What falls most without the token is what its prompts say.
    const at::Tensor fall = last_logits(d, {.tokens = {10, planted}}).log_softmax(0) -
                            without(planted, {.tokens = {10, planted}}).log_softmax(0);
    said = fall.argmax().item<std::int64_t>();
    for (std::int64_t first = 10; first < 40; ++first) {
      behaviour.push_back({.tokens = {first, planted}, .target = said, .group = first % 2 ? "odd" : "even"});
      against.push_back({.tokens = {first, 9}, .target = said});
    }
  }
  at::Tensor without(std::int64_t column, const AuditPrompt& prompt) const {
    const at::NoGradGuard no_grad;
    const std::vector<RankOneEdit> edits = ablations_of({column}, d);
    const auto N = static_cast<std::int64_t>(prompt.tokens.size());
    EditedExecutor executor(d, edits, edit_factors(edits, N, N, {}, d.numerics.options()));
    return d.target->forward(at::tensor(prompt.tokens, at::kLong).unsqueeze(0), executor)[-1];
  }

  Decomposition d = embedding_case(at::ones({61, known}), at::kDouble);
  std::int64_t said = 0;
  std::vector<AuditPrompt> behaviour, against;
  Lanes lanes{2};
};

TEST_F(PlantedToken, IsTakenOutWithoutDamage) {
  UnlearnSettings settings{.audit = {.least_probability = 0.0}};
  settings.baselines = {Baseline::importance, Baseline::activation, Baseline::estimate};
  const UnlearnResult result =
      unlearn(d, split_prompts(behaviour), split_prompts(against), settings, nullptr, lanes);
  ASSERT_EQ(result.set, std::vector<std::int64_t>{planted});
  EXPECT_LT(result.effect, 0.0);
  EXPECT_LE(result.effect_low, result.effect);
  EXPECT_LT(result.effect_high, 0.0);
  EXPECT_LT(result.side, 1e-12);  // no other prompt has the token
  EXPECT_LT(result.side_99, 1e-12);
  ASSERT_EQ(result.groups.size(), 2u);
  EXPECT_EQ(result.groups[0].name, "even");
  EXPECT_EQ(result.groups[0].prompts + result.groups[1].prompts,
            static_cast<std::int64_t>(split_prompts(behaviour).report.size()));
  ASSERT_EQ(result.curves.size(), 4u);
  EXPECT_EQ(result.curves[0].points.size(), 2u);
  EXPECT_NEAR(result.curves[0].points[1].effect, result.effect, 1e-12);
  ASSERT_EQ(result.redundancy.size(), 1u);
  EXPECT_NEAR(result.redundancy[0].in_target, result.effect, 1e-9);
}

TEST_F(PlantedToken, IsLeftWhereTheBudgetForbidsIt) {
  // The same prompts on both sides but for the target: the damage is what the behaviour loses.
  std::vector<AuditPrompt> same = behaviour;
  for (AuditPrompt& prompt : same) prompt.target.reset();
  UnlearnSettings settings{.audit = {.least_probability = 0.0}, .budget = 1e-9};
  const UnlearnResult result =
      unlearn(d, split_prompts(behaviour), split_prompts(same), settings, nullptr, lanes);
  EXPECT_TRUE(result.set.empty());
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_NE(result.warnings[0].find("--budget"), std::string::npos);
}

class UnlearnParts : public ::testing::Test {
 protected:
  UnlearnParts() {
    const auto length = std::min<std::int64_t>(6, d.target->longest_sequence());
    for (std::int64_t i = 0; i < 12; ++i) {
      AuditPrompt prompt;
      for (std::int64_t t = 0; t < length - i % 2; ++t) prompt.tokens.push_back((7 * i + 5 * t + 1) % 61);
      prompt.target = last_logits(d, prompt).argmax().item<std::int64_t>();
      (i % 2 ? against : behaviour).push_back(prompt);
    }
  }
  double metric(const Alteration& alteration) {
    return mean_of(prompt_figures(d, behaviour, alteration, lanes).metric);
  }
  Alteration edited(const std::vector<RankOneEdit>& edits) {
    return [this, edits](std::int64_t N) {
      return std::make_unique<EditedExecutor>(d, edits, edit_factors(edits, N, N, {}, d.numerics.options()));
    };
  }

  const GoldenCase golden{"plain", at::kDouble};
  const Decomposition& d = golden.decomposition;
  std::vector<AuditPrompt> behaviour, against;
  Lanes lanes{2};
};

TEST_F(UnlearnParts, EstimatesBesideEditsAreDerivatives) {
  const std::vector<std::int64_t> out = {4, 90};
  const at::Tensor estimate = estimated_effects(d, behaviour, lanes, ablations_of(out, d));
  constexpr double step = 1e-5;
  for (const std::int64_t column : {0, 33, 120, 200}) {
    const auto scaled = [&](double part) {
      std::vector<RankOneEdit> edits = ablations_of(out, d);
      edits.push_back(ablations_of({column}, d)[0]);
      edits.back().write = edits.back().write * part;
      return metric(edited(edits));
    };
    EXPECT_NEAR(estimate[column].item<double>(), (scaled(step) - scaled(-step)) / (2 * step), 1e-7) << column;
  }
}

// Masks are 1 where g > 0, Δ-masks 0, and a column that is taken out has none.
TEST_F(UnlearnParts, CircuitEffectsAreThoseOfGivenMasks) {
  const std::vector<std::int64_t> columns = {4, 33, 120};
  const CircuitEffects effects = circuit_effects(d, behaviour, columns, lanes);
  const at::NoGradGuard no_grad;
  for (std::size_t p = 0; p < behaviour.size(); ++p) {
    const auto T = static_cast<std::int64_t>(behaviour[p].tokens.size());
    const at::Tensor tokens = at::tensor(behaviour[p].tokens, at::kLong);
    const at::Tensor important =
        optimise_importance(d, tokens, {{.at = T - 1, .token = behaviour[p].target}}, {.steps = 0})
            .before.gt(0.0)
            .to(at::kDouble);
    const auto said = [&](const at::Tensor& mask) {
      const ColumnMasks masks{mask, at::zeros({T, static_cast<std::int64_t>(d.sites.size())}, at::kDouble)};
      GivenMasks executor(d, masks);
      return prompt_metric(d.target->forward(tokens.unsqueeze(0), executor)[-1], behaviour[p]);
    };
    EXPECT_NEAR(effects.probability[p], std::exp(said(important)), 1e-9);
    for (std::size_t i = 0; i < columns.size(); ++i) {
      at::Tensor less = important.clone();
      less.select(1, columns[i]).zero_();
      EXPECT_NEAR(effects.metric[i][p], said(less) - said(important), 1e-9) << columns[i];
    }
  }
}

TEST(RedundancyCheck, IsWhatCountsInTheCircuitAndHardlyInTheTarget) {
  EXPECT_TRUE((RedundancyCheck{.in_target = -0.05, .in_circuit = -0.3}.made_up_for()));
  EXPECT_FALSE((RedundancyCheck{.in_target = -0.2, .in_circuit = -0.3}.made_up_for()));
  EXPECT_FALSE((RedundancyCheck{.in_target = -0.05, .in_circuit = -0.1}.made_up_for()));
}

TEST_F(UnlearnParts, EffectsBesideEditsAreThoseOfBoth) {
  const std::vector<std::int64_t> out = {4, 90};
  const auto effects = ablation_effects(d, behaviour, {33, 120}, lanes, {}, ablations_of(out, d));
  const PromptFigures before = prompt_figures(d, behaviour, {}, lanes),
                      after = prompt_figures(d, behaviour, edited(ablations_of({4, 90, 120}, d)), lanes);
  std::size_t position = 0;
  for (std::size_t p = 0; p < behaviour.size(); ++p) {
    EXPECT_NEAR(effects[1].metric[p], after.metric[p] - before.metric[p], 1e-9);
    EXPECT_NEAR(effects[1].last_kl[p], after.last_kl[p], 1e-6);
    for (const float kl : after.kl[p]) EXPECT_NEAR(effects[1].each_kl[position++], kl, 1e-6);
    EXPECT_NEAR(before.probability[p], std::exp(before.metric[p]), 1e-12);
  }
  EXPECT_EQ(position, effects[1].each_kl.size());
}

TEST_F(UnlearnParts, OthersStayWithinWhatIsAllowed) {
  const auto change = [&](const std::vector<std::int64_t>& columns) {
    const PromptFigures before = prompt_figures(d, against, {}, lanes),
                        after = prompt_figures(d, against, edited(ablations_of(columns, d)), lanes);
    double largest = 0.0;
    for (std::size_t p = 0; p < against.size(); ++p)
      largest = std::max(largest, std::abs(after.metric[p] - before.metric[p]));
    return largest;
  };
  UnlearnSettings settings{.audit = {.least_probability = 0.0}, .budget = 10.0, .most = 4};
  const double freely = change(choose_set(d, behaviour, against, settings, lanes, {}).columns);
  settings.stay = 0.9 * freely;
  const std::vector<std::int64_t> kept = choose_set(d, behaviour, against, settings, lanes, {}).columns;
  ASSERT_FALSE(kept.empty());
  EXPECT_LE(change(kept), settings.stay * (1.0 + 1e-9));
  EXPECT_GT(freely, settings.stay);
}

TEST_F(UnlearnParts, NothingStaysWithoutTargets) {
  for (AuditPrompt& prompt : against) prompt.target.reset();
  const UnlearnSettings settings{.audit = {.least_probability = 0.0}, .stay = 0.1};
  EXPECT_ERROR_AS(UsageError, "--stay: expected a prompt against the behaviour that has a target, found none",
                  unlearn(d, split_prompts(behaviour), split_prompts(against), settings, nullptr, lanes));
}

TEST_F(UnlearnParts, AProjectedStreamHasNothingInThatDirection) {
  const std::vector<at::Tensor> directions = mean_difference(d, behaviour, against, lanes);
  ASSERT_EQ(directions.size(), d.target->blocks() + 1);
  class Look final : public ForwardingExecutor {
   public:
    explicit Look(Executor* inner) : ForwardingExecutor(inner) {}
    at::Tensor residual(std::size_t block, const at::Tensor& x) override {
      const at::Tensor stream = inner().residual(block, x);
      streams.push_back(stream);
      return stream;
    }
    std::vector<at::Tensor> streams;
  };
  for (std::size_t b = 0; b < directions.size(); ++b) {
    EXPECT_NEAR(directions[b].norm().item<double>(), 1.0, 1e-12);
    const at::NoGradGuard no_grad;
    const auto executor = without_direction(b, directions[b], 1.0)(6);
    Look look(executor.get());
    d.target->forward(at::tensor(behaviour[0].tokens, at::kLong).unsqueeze(0), look);
    EXPECT_LT(look.streams[b].matmul(directions[b]).abs().max().item<double>(), 1e-12);
  }
}

TEST_F(UnlearnParts, FitsReachTheWantedEffectWithTheirRank) {
  const std::size_t matrix = d.sites[*d.sites.find("h.1.mlp.down_proj")].matrix;
  const double before = metric({});
  for (const std::int64_t rank : {1, 2}) {
    const auto updates = fit_updates(d, {matrix}, behaviour, against,
                                     {.rank = rank, .steps = 60, .metric = before - 0.5, .before = before});
    ASSERT_EQ(updates.size(), 1u);
    EXPECT_EQ(updates[0].A.size(0), rank);
    EXPECT_EQ(updates[0].B.size(1), rank);
    EXPECT_NEAR(metric(with_updates(updates)), before - 0.5, 0.1);
  }
}

TEST_F(UnlearnParts, LossesAreTheFiguresThatTheyStandFor) {
  behaviour[0].contrast = (*behaviour[0].target + 1) % 61;
  const Alteration alteration = edited(ablations_of({4, 90}, d));
  const PromptFigures figures = prompt_figures(d, behaviour, alteration, lanes);
  double sum = 0.0, kl = 0.0, expected_kl = 0.0;
  std::int64_t count = 0;
  for (const PromptBatch& batch : batch_prompts(behaviour, at::kCPU, 4)) {
    const auto [metric, some] = summed_metric(d, batch, behaviour, alteration);
    sum += metric.item<double>();
    count += some;
    kl += summed_kl(d, batch, alteration).item<double>();
  }
  for (const auto& row : figures.kl)
    for (const float one : row) expected_kl += one;
  EXPECT_EQ(count, static_cast<std::int64_t>(behaviour.size()));
  EXPECT_NEAR(sum / static_cast<double>(count), mean_of(figures.metric), 1e-10);
  EXPECT_NEAR(kl, expected_kl, 1e-6 * (1.0 + expected_kl));
}

TEST_F(UnlearnParts, TrainingBringsABehaviourBack) {
  const Alteration alteration = edited(ablations_of({4, 90, 120}, d));
  const RelearningCurve curve =
      relearn(d, alteration, behaviour, behaviour, {.steps = 12, .rate = 1e-3}, lanes);
  EXPECT_EQ(curve.steps, (std::vector<std::int64_t>{0, 1, 2, 5, 10, 12}));
  EXPECT_NEAR(curve.probability[0], mean_of(prompt_figures(d, behaviour, alteration, lanes).probability),
              1e-9);
  EXPECT_GT(curve.probability.back(), curve.probability.front() + 0.05);
}

TEST(UnlearnCurves, SayTheLargestFallWithinADamage) {
  const UnlearnCurve curve{.name = "",
                           .description = "",
                           .points = {{"0", 0.0, 0.5, 0.0}, {"1", -1.0, 0.4, 0.01}, {"2", -3.0, 0.1, 0.03}}};
  EXPECT_EQ(curve.fall_within(0.005), 0.0);
  EXPECT_EQ(curve.fall_within(0.01), 1.0);
  EXPECT_EQ(curve.fall_within(1.0), 3.0);
  EXPECT_NEAR(curve.area(0.02), 0.5, 1e-12);                   // 0 up to 0.01, then 1
  EXPECT_NEAR(curve.area(0.04), (0.02 + 0.03) / 0.04, 1e-12);  // 0, 1 for 0.02, 3 for 0.01
}

TEST(UnlearnCurves, BaselinesAreNamed) {
  EXPECT_EQ(parse_baselines("all"), all_baselines());
  EXPECT_TRUE(parse_baselines("none").empty());
  EXPECT_EQ(parse_baselines("rank_4,random"), (std::vector<Baseline>{Baseline::rank_4, Baseline::random}));
  for (const char* wrong : {"", "rank_2", "random,", "all,random"})
    EXPECT_THROW(parse_baselines(wrong), UsageError) << wrong;
}

TEST(Statistics, AreThoseOfSmallSets) {
  EXPECT_EQ(mean_of({1.0, std::nan(""), 3.0}), 2.0);
  EXPECT_NEAR(standard_error({1.0, 3.0, std::nan("")}), 1.0, 1e-15);
  EXPECT_EQ(standard_error({1.0}), 0.0);
  EXPECT_EQ(largest_magnitude({1.0, std::nan(""), -3.0}), 3.0);
  EXPECT_TRUE(std::isnan(largest_magnitude({std::nan("")})));
  EXPECT_EQ(quantile_of({5.0f, 1.0f, 3.0f}, 0.5), 3.0);
  EXPECT_EQ(quantile_of({}, 0.5), 0.0);
  EXPECT_EQ(central_95({}), (std::pair<double, double>{0.0, 0.0}));
}

}  // namespace
}  // namespace vpd::testing
