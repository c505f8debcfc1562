// What an objective may say: its terms, penalties, adversaries, masks and routings.

#include <map>
#include <string>
#include <string_view>

#include "config/run_support.hpp"

namespace vpd {
namespace {

TEST_F(RunConfigTest, TermsOfOneTypeNeedNames) {
  const std::string recon = "{type: stochastic_recon, coefficient: 1}";
  EXPECT_EQ(objective_message(recon + "," + recon),
            "objective[1].name: expected a name of its own, found \"stochastic_recon\", which [0] has too");
  EXPECT_EQ(objective_message(recon + ", {type: stochastic_recon, coefficient: 1, name: second}"), "");
  EXPECT_EQ(objective_message("{type: stochastic_recon, coefficient: 1, name: a}, {type: unmasked_recon, "
                              "coefficient: 1, name: a}"),
            "objective[1].name: expected a name of its own, found \"a\", which [0] has too");
  EXPECT_NE(objective_message("{type: stochastic_recon, coefficient: 1, name: total}"), "");
  EXPECT_NE(objective_message("{type: stochastic_recon, coefficient: 1, name: a/b}"), "");
  for (const char* type : {"faithfulness", "importance_minimality"}) {
    EXPECT_EQ(objective_message(
                  fmt::format("{{type: {0}, coefficient: 1}}, {{type: {0}, coefficient: 1, name: b}}", type)),
              fmt::format("objective[1].type: expected one {}{} at most, found it again after [0]", type,
                          std::string(type) == "faithfulness" ? "" : " of the same rows"));
  }
}

TEST_F(RunConfigTest, LabelsAreNamesOrTypes) {
  const RunConfig run =
      load("objective",
           "[{type: stochastic_recon, coefficient: 1}, {type: stochastic_recon, coefficient: 2, name: b}]");
  EXPECT_EQ(label(run.objective[0]), "stochastic_recon");
  EXPECT_EQ(label(run.objective[1]), "b");
  EXPECT_EQ(coefficient_of(run.objective[1]), Schedule::from_number(2));
  EXPECT_EQ(find_term<StochasticReconTerm>(run.objective), &std::get<StochasticReconTerm>(run.objective[0]));
  EXPECT_EQ(find_term<FaithfulnessTerm>(run.objective), nullptr);
}

TEST_F(RunConfigTest, FrequencyBorrowsItsExponent) {
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1}"),
            "objective[0].p: expected a value where no importance_minimality lends its own, found none");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, p: 0.5}"),
            "objective[0].eps: expected a value where no importance_minimality lends its own, found none");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, p: 0.5, eps: 1e-9}"), "");

  const auto resolved = [&](const char* own) {
    const RunConfig run =
        load("objective",
             fmt::format("[{{type: frequency_minimality, coefficient: 1{}}}, {{type: importance_minimality, "
                         "coefficient: 1, p: {{start: 1.5, end: 0.5}}, eps: 1e-6}}]",
                         own));
    const MinimalityPlan plan = *plan_of(run.objective)[0].minimality();
    EXPECT_TRUE(plan.frequency);
    return std::pair(*plan.p, *plan.eps);
  };
  EXPECT_EQ(resolved(""), std::pair(Annealed({1.5, 0.5}), 1e-6));
  EXPECT_EQ(resolved(", p: 0.7, eps: 1e-3"), std::pair(Annealed({0.7, 0.7}), 1e-3));
}

TEST_F(RunConfigTest, PenaltiesHaveTheirRules) {
  const auto both = [&](const char* importance, const char* frequency) {
    return objective_message(
        fmt::format("{{type: importance_minimality, coefficient: 1{}}}, {{type: frequency_minimality, "
                    "coefficient: 1{}}}",
                    importance, frequency));
  };
  const char* smooth = ", penalty: {type: smooth_l0}";
  const std::string useless =
      ": expected none beside penalty smooth_l0, found a value that only penalty power has a use for";
  EXPECT_EQ(both("", ""), "");
  EXPECT_EQ(both(smooth, ""), "");
  EXPECT_EQ(both("", smooth), "");
  EXPECT_EQ(both(smooth, ", penalty: {type: power}, p: 0.5, eps: 1e-6"), "");
  EXPECT_EQ(both(", penalty: {type: smooth_l0}, p: 0.5", ""), "objective[0].p" + useless);
  EXPECT_EQ(both(", penalty: {type: smooth_l0}, eps: 0.5", ""), "objective[0].eps" + useless);
  EXPECT_EQ(both(smooth, ", p: 0.5"), "objective[1].p" + useless);
  EXPECT_EQ(both(smooth, ", eps: 0.5"), "objective[1].eps" + useless);
  EXPECT_EQ(
      both(smooth, ", penalty: {type: power}"),
      "objective[1].p: expected a value where no importance_minimality with penalty power lends its own, "
      "found none");
  EXPECT_NE(both(", penalty: {type: smooth_l0, gamma: 0}", ""), "");
  EXPECT_NE(both(", penalty: {type: smooth_l0, gamma: {start: 1, end: 0.1, fraction: 0}}", ""), "");
  EXPECT_NE(both("", ", reference_count: 0"), "");
  EXPECT_NE(both("", ", moving_average: {decay: 1}"), "");
  EXPECT_EQ(both("", ", reference_count: 1000, moving_average: {decay: 0.9}"), "");
  EXPECT_EQ(objective_message("{type: frequency_minimality, coefficient: 1, penalty: {type: smooth_l0}}"),
            "");
}

TEST_F(RunConfigTest, AdversariesHaveTheirRules) {
  EXPECT_EQ(adversary_message("type: persistent, scope: n_sources, sources: 3"), "");
  EXPECT_EQ(adversary_message("type: persistent, scope: n_sources"),
            "objective[0].adversary.sources: expected a whole number of at least 1 for scope n_sources, "
            "found none");
  EXPECT_NE(adversary_message("type: persistent, scope: n_sources, sources: 0"), "");
  EXPECT_EQ(adversary_message("type: persistent, scope: pooled, sources: 3"), "");
  EXPECT_EQ(
      adversary_message("type: persistent, scope: pooled"),
      "objective[0].adversary.sources: expected a whole number of at least 1 for scope pooled, found none");
  EXPECT_EQ(
      adversary_message("type: persistent, sources: 3"),
      "objective[0].adversary.sources: expected null, found a number that only scopes n_sources and pooled "
      "have a use for");
  EXPECT_NE(adversary_message("type: persistent, scope: pooled, sources: 2, shared_across_positions: true"),
            "");
  EXPECT_EQ(adversary_message("type: persistent, scope: shared_across_batch, shared_across_positions: true"),
            "");
  EXPECT_NE(adversary_message("type: persistent, shared_across_positions: true"), "");
  EXPECT_NE(adversary_message("type: persistent, parametrization: sigmoid, init: {type: constant, value: 0}"),
            "");
  EXPECT_EQ(
      adversary_message("type: persistent, parametrization: sigmoid, init: {type: constant, value: 0.5}"),
      "");
  EXPECT_NE(adversary_message("type: persistent, init: {type: constant, value: 1.5}"), "");
  EXPECT_EQ(adversary_message("type: persistent, optimizer: {type: sign}, learning_rate: 0.1"), "");
  EXPECT_EQ(adversary_message("type: fresh, steps: 4, step_size: 0.2, init: zeros, scope: per_datapoint"),
            "");
}

TEST_F(RunConfigTest, OnlySourcesThatClimbInAPassAreCompact) {
  EXPECT_EQ(adversary_message("type: persistent, storage: compact"), "");
  EXPECT_EQ(adversary_message("type: persistent, storage: compact, optimizer: {type: sign}"), "");
  const std::string refused =
      "objective[0].adversary.storage: expected float32, found compact, which needs scope per_position "
      "and parametrization clamped";
  EXPECT_EQ(adversary_message("type: persistent, storage: compact, parametrization: sigmoid"), refused);
  EXPECT_EQ(adversary_message("type: persistent, storage: compact, scope: shared_across_batch"), refused);
  EXPECT_EQ(
      objective_message("{type: adversarial_recon, coefficient: 1, adversary: {type: persistent, storage: "
                        "compact}, routing: {type: layerwise}}"),
      "objective[0].adversary.storage: expected float32 beside layerwise routing, which masks one site at a "
      "time, found compact, which needs one pass for all of them");
  EXPECT_EQ(
      objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: adversarial, adversary: "
                        "{type: persistent, storage: compact}}, routing: {type: uniform_k_subset}}"),
      "");
}

TEST_F(RunConfigTest, MergedMasksHaveAFraction) {
  const auto merged = [&](const char* text) {
    return objective_message(fmt::format(
        "{{type: adversarial_recon, coefficient: 1, adversary: {{type: persistent}}, merged: {}}}", text));
  };
  EXPECT_EQ(merged("{}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: 0.3, draw: per_position}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: {start: 0.2, schedule: linear, final_fraction: 5}}"), "");
  EXPECT_EQ(merged("{adversarial_fraction: 1.5}"),
            "objective[0].merged.adversarial_fraction: expected a number from 0 to 1 or a map with keys from "
            "start, schedule, final_fraction, warmup_fraction, warmup_steps, points, found the number 1.5");
  EXPECT_EQ(
      merged("{adversarial_fraction: {start: 0.5, schedule: linear, final_fraction: 3}}"),
      "objective[0].merged.adversarial_fraction.final_fraction: expected a schedule that stays within 0 "
      "and 1, found one that reaches 1.5");
  EXPECT_NE(merged("{draw: per_token}"), "");
}

TEST_F(RunConfigTest, NobodyStartsAtTheTarget) {
  EXPECT_EQ(adversary_message("type: fresh, init: ones"),
            "objective[0].adversary.init: expected first values below 1 while delta_component is true, found "
            "1 everywhere, "
            "which is the target itself, where the gradient is zero");
  EXPECT_NE(adversary_message("type: persistent, init: {type: constant, value: 1}"), "");
  EXPECT_NE(metrics_message("{type: pgd, name: a, init: ones}"), "");
  EXPECT_EQ(message("evaluation", "{metrics: [{type: pgd, name: a, init: ones}]}", {"delta_component=false"}),
            "");
}

TEST_F(RunConfigTest, EveryReconstructionHasRouting) {
  for (const char* type : {"stochastic_recon", "adversarial_recon", "ci_masked_recon", "unmasked_recon",
                           "hidden_acts_recon", "topk_attribution_recon"}) {
    const std::map<std::string_view, const char*> more = {
        {"adversarial_recon", ", adversary: {type: persistent}"}, {"topk_attribution_recon", ", k: 2"}};
    const auto found = more.find(type);
    const std::string others = found == more.end() ? "" : found->second;
    const RunConfig run = load("objective", fmt::format("[{{type: {}, coefficient: 1{}, routing: {{type: "
                                                        "static_probability, probability: 0.25}}}}]",
                                                        type, others));
    const ObjectivePlan plan = plan_of(run.objective);
    ASSERT_TRUE(plan[0].reconstruction()) << type;
    EXPECT_EQ(plan[0].reconstruction()->routing, RoutingConfig(StaticProbabilityRoutingConfig{0.25})) << type;
  }
  EXPECT_NE(objective_message("{type: ci_masked_recon, coefficient: 1, routing: {type: static_probability, "
                              "probability: 2}}"),
            "");
}

TEST_F(RunConfigTest, TermsOfApdHaveTheirRules) {
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 1.28}, {type: schatten, "
                              "coefficient: 1, p: 0.9, weighted_by_topk: true}"),
            "");
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 0}"),
            "objective[0].k: expected a number above 0, found the number 0");
  EXPECT_NE(objective_message("{type: topk_attribution_recon, coefficient: 1}"), "");
  EXPECT_EQ(objective_message("{type: topk_attribution_recon, coefficient: 1, k: 1}, {type: "
                              "topk_attribution_recon, name: b, coefficient: 1, k: 2}"),
            "objective[1].type: expected one topk_attribution_recon at most, found it again after [0]");
  EXPECT_EQ(
      objective_message("{type: schatten, coefficient: 1, weighted_by_topk: true}"),
      "objective[0].weighted_by_topk: expected false where no topk_attribution_recon says what is kept, "
      "found true");
  EXPECT_NE(objective_message("{type: schatten, coefficient: 1, p: 0}"), "");
  const RunConfig run = load("objective", "[{type: schatten, coefficient: 1}]");
  EXPECT_TRUE(std::holds_alternative<SchattenPlan>(plan_of(run.objective)[0].what));
}

TEST_F(RunConfigTest, HiddenActsTakeTheirMasksFromThreeSources) {
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1}"), "");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: ci}}"), "");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: random, samples: 0}}"),
            "objective[0].masks.samples: expected a whole number of at least 1, found the number 0");
  EXPECT_EQ(objective_message("{type: hidden_acts_recon, coefficient: 1, masks: {type: adversarial, "
                              "adversary: {type: fresh, init: ones}}}")
                .find("objective[0].masks.adversary.init: expected first values below 1"),
            0u);
  const RunConfig run =
      load("objective",
           "[{type: hidden_acts_recon, coefficient: 1, masks: {type: adversarial, adversary: "
           "{type: persistent}}}, {type: hidden_acts_recon, name: b, coefficient: 1}]");
  const ObjectivePlan plan = plan_of(run.objective);
  ASSERT_NE(plan[0].adversary(), nullptr);
  EXPECT_TRUE(std::holds_alternative<PersistentAdversaryConfig>(*plan[0].adversary()));
  EXPECT_EQ(plan[1].adversary(), nullptr);
  for (const TermPlan& term : plan) {
    EXPECT_EQ(term.reconstruction()->comparison, Comparison::hidden_acts);
    EXPECT_TRUE(term.reconstruction()->noisy());
  }
}

}  // namespace
}  // namespace vpd
