// Losses and metrics of the original code's configuration.

#include <gtest/gtest.h>

#include "config_support.hpp"

namespace vpd {
namespace {

class ImportObjective : public ImportConfig {};

TEST_F(ImportObjective, Annealing) {
  const auto p = [&](const std::string& by) {
    const TranslatedConfig translated =
        with("p_anneal_start_frac: 0.0,\n   p_anneal_final_p: 0.4, p_anneal_end_frac: 1.0", by);
    return std::pair(std::get<ImportanceMinimalityTerm>(translated.config.objective[0]).p, translated);
  };
  EXPECT_EQ(p("p_anneal_final_p: 0.4").first, (Annealed{2.0, 2.0}));  // starts, by default, at the end
  EXPECT_EQ(p("p_anneal_final_p: null").first, (Annealed{2.0, 2.0}));
  const auto [late, translated] = p("p_anneal_start_frac: 0.5, p_anneal_final_p: 0.4");
  EXPECT_EQ(late, (Annealed{2.0, 0.4}));
  expect_warning(translated,
                 "p goes from 2 to 0.4 between the fractions 0.5 and 1 of training there, and from its "
                 "beginning to 1 here");
  const auto [early, quiet] = p("p_anneal_start_frac: 0, p_anneal_end_frac: 0.5, p_anneal_final_p: 0.4");
  EXPECT_EQ(early, (Annealed{.start = 2.0, .end = 0.4, .fraction = 0.5}));
  EXPECT_EQ(quiet.warnings.size(), translate(published).warnings.size());
  expect_rejected("p_anneal_end_frac: 1.0", "p_anneal_end_frac: 0",
                  "p_anneal_end_frac: expected a fraction between that of the start and 1");
  expect_warning(with("eps: 1.0e-12", "eps: 0"), "eps: 0 has no counterpart here: eps is 1e-12");
  EXPECT_EQ(with("beta: 0.5", "beta: 0").config.objective.size(), 4u);
  EXPECT_EQ(with("pnorm: 2.0", "pnorm_1: 2.0").config.objective, translate(published).config.objective);
  expect_rejected("pnorm: 2.0, ", "", "pnorm: expected the exponent p, found no such key");
}

TEST_F(ImportObjective, EveryLoss) {
  const std::string loss = "{coeff: 10000000.0, classname: FaithfulnessLoss}";
  const auto term = [&](const std::string& by) { return with(loss, by).config.objective.back(); };
  const auto fresh = [&](const std::string& by) {
    return std::get<FreshAdversaryConfig>(std::get<AdversarialReconTerm>(term(by)).adversary);
  };
  const auto persistent = [&](const std::string& by) {
    return std::get<PersistentAdversaryConfig>(
        std::get<AdversarialReconTerm>(
            term("{coeff: 1, classname: PersistentPGDReconLoss, optimizer: {type: sign, step_size: 0.3}, " +
                 by + "}"))
            .adversary);
  };
  EXPECT_TRUE(std::holds_alternative<CiMaskedReconTerm>(term("{coeff: 1, classname: CIMaskedReconLoss}")));
  EXPECT_EQ(std::get<CiMaskedReconTerm>(term("{coeff: 1, classname: CIMaskedReconLayerwiseLoss}")).routing,
            RoutingConfig(LayerwiseRoutingConfig{}));
  EXPECT_EQ(std::get<HiddenActsReconTerm>(term("{coeff: 1, classname: StochasticHiddenActsReconLoss}")),
            (HiddenActsReconTerm{.coefficient = {.start = 1}, .masks = RandomMasksConfig{.samples = 2}}));
  EXPECT_TRUE(std::holds_alternative<UnmaskedReconTerm>(term("{coeff: 1, type: UnmaskedReconLoss}")));
  const auto stochastic = [&](const std::string& by) { return std::get<StochasticReconTerm>(term(by)); };
  EXPECT_EQ(stochastic("{coeff: 1, classname: StochasticReconLoss}").routing,
            RoutingConfig(AllRoutingConfig{}));
  EXPECT_EQ(stochastic("{coeff: 1, classname: StochasticReconLayerwiseLoss, n_mask_samples: 5}"),
            (StochasticReconTerm{.name = "stochastic_recon_2",
                                 .coefficient = {.start = 1},
                                 .samples = 5,
                                 .routing = LayerwiseRoutingConfig{}}));
  EXPECT_EQ(
      stochastic(
          "{coeff: 1, classname: StochasticReconSubsetLoss, routing: {type: static_probability, p: 0.2}}")
          .routing,
      RoutingConfig(StaticProbabilityRoutingConfig{0.2}));
  EXPECT_EQ(fresh("{coeff: 1, classname: PGDReconSubsetLoss, init: zeroes, n_steps: 3, step_size: 0.5, "
                  "mask_scope: unique_per_datapoint}"),
            (FreshAdversaryConfig{
                .steps = 3, .step_size = 0.5, .init = FreshInit::zeros, .scope = FreshScope::per_datapoint}));
  EXPECT_EQ(persistent("scope: {type: batch_invariant, n_masks: 8}"),
            (PersistentAdversaryConfig{.scope = PersistentScope::n_sources,
                                       .sources = 8,
                                       .warmup_steps = 0,
                                       .optimizer = SignAscentConfig{},
                                       .learning_rate = {.start = 0.3}}));
  EXPECT_EQ(persistent("scope: {type: repeat_across_batch, n_sources: 4}").sources, 4);
  EXPECT_EQ(persistent("scope: broadcast_across_batch").scope, PersistentScope::shared_across_batch);
  EXPECT_TRUE(persistent("scope: {type: single_source}").shared_across_positions);
  EXPECT_EQ(persistent("scope: per_batch, use_sigmoid_parameterization: true").parametrization,
            SourceParametrization::sigmoid);
  expect_rejected("type: per_batch_per_position", "type: repeat_across_batch",
                  "scope: expected the number of sources");
  expect_rejected("n_warmup_steps: 2", "n_warmup_steps: two", "n_warmup_steps: expected a whole number");
  const TranslatedConfig late = with("n_warmup_steps: 2", "start_frac: 0.25\n  n_samples: 3");
  expect_warning(late, "start_frac: 0.25 has no counterpart here: training has 0");
  expect_warning(late, "n_samples: 3 has no counterpart here: training has 1");
  const TranslatedConfig binomial = with("sampling: continuous", "sampling: binomial");
  EXPECT_EQ(std::get<StochasticReconTerm>(binomial.config.objective[2]).sources,
            SourceDistribution::binomial);
  expect_warning(binomial, "binomial sampling also adds noise to the causal importances");
  const TranslatedConfig unknown = with(loss, "{coeff: 1, classname: CIMaskedAttnPatternsReconLoss}");
  EXPECT_EQ(unknown.config.objective.size(), 4u);
  expect_warning(
      unknown,
      "loss_metric_configs[3]: CIMaskedAttnPatternsReconLoss has no counterpart here and is left out");
}

TEST_F(ImportObjective, NoLossAtAll) {
  const std::size_t begin = published.find("loss_metric_configs:"), end = published.find("output_loss_type");
  const TranslatedConfig translated = translate(published.substr(0, begin) + published.substr(end));
  EXPECT_EQ(translated.config.objective, ObjectiveConfig{FaithfulnessTerm{}});
  expect_warning(translated, "no loss has a counterpart here");
}

TEST_F(ImportObjective, Metrics) {
  const std::size_t begin = published.find("eval_metric_configs:"),
                    end = published.find("ci_alive_threshold");
  const auto metrics = [&](const std::string& list) {
    return translate(published.substr(0, begin) + list + published.substr(end)).config.evaluation.metrics;
  };
  EXPECT_EQ(metrics("eval_metric_configs: []\n"), (std::vector<MetricConfig>{CeKlMetric{}, LossesMetric{}}));
  EXPECT_EQ(metrics(""), (std::vector<MetricConfig>{CeKlMetric{}, CiL0Metric{}, LossesMetric{}}));
  const auto several = metrics(R"(eval_metric_configs:
- {classname: CEandKLLosses, rounding_threshold: 0.1}
- {classname: CEandKLLosses, rounding_threshold: 0.5}
- {classname: CI_L0, groups: {attention: [h.0.attn, 'h.1.attn*']}}
- {classname: PGDReconLoss, init: zeroes, step_size: 0.2, n_steps: 5, mask_scope: unique_per_datapoint}
- {classname: PGDMultiBatchReconLoss, init: random, step_size: 0.1, n_steps: 5, gradient_accumulation_steps: 3}
)");
  const std::vector<MetricConfig> expected = {
      CeKlMetric{.rounding_thresholds = {0.1, 0.5}},
      CiL0Metric{.groups = {{"attention", {"h.0.attn*", "h.1.attn*"}}}}, LossesMetric{},
      PgdMetric{.name = "pgd_5",
                .steps = 5,
                .step_size = 0.2,
                .init = FreshInit::zeros,
                .scope = FreshScope::per_datapoint},
      PgdMetric{.name = "pgd_5_2", .steps = 5, .batches = 3}};
  EXPECT_EQ(several, expected);
  // Thresholds that come twice, an attack that begins at the target itself, and one on more batches.
  const TranslatedConfig adjusted = translate(published.substr(0, begin) + R"(eval_metric_configs:
- {classname: CEandKLLosses, rounding_threshold: 0.1}
- {classname: CEandKLLosses, rounding_threshold: 0.1}
- {classname: PGDReconLoss, init: ones, step_size: 0.2, n_steps: 5}
- {classname: PGDMultiBatchReconLoss, step_size: 0.1, n_steps: 7, gradient_accumulation_steps: 1000}
)" + published.substr(end));
  EXPECT_EQ(adjusted.config.evaluation.metrics,
            (std::vector<MetricConfig>{CeKlMetric{.rounding_thresholds = {0.1}}, LossesMetric{},
                                       PgdMetric{.name = "pgd_7", .steps = 7, .batches = 1000}}));
  EXPECT_EQ(adjusted.config.evaluation.batches, 1000);
  expect_warning(adjusted, "eval_metric_configs[2]: PGDReconLoss cannot be measured here and is left out");
  expect_warning(adjusted, "gradient_accumulation_steps: 1000 batches attacked together");
  EXPECT_EQ(std::get<CiL0Metric>(
                with("ci_alive_threshold: 0.0", "ci_alive_threshold: 0.2").config.evaluation.metrics[1])
                .threshold,
            0.2);
  EXPECT_EQ(with("eval_batch_size: 128\n", "").config.evaluation.batch_size, 64);
  EXPECT_EQ(with("eval_freq: 1000", "print_freq: 500").config.evaluation.every, 500);
}

}  // namespace
}  // namespace vpd
