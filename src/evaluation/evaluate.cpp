#include "vpd/evaluation/evaluate.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "vpd/base/error.hpp"
#include "vpd/passes/attribution.hpp"

namespace vpd {
namespace {

/// `number`: its place in the configuration, which sets its random numbers apart; `where` names it in errors.
std::unique_ptr<Gatherer> make_metric(const RunConfig& run, std::size_t number, const Decomposition& d,
                                      std::int64_t step, const std::string& where) {
  const Sites& sites = d.sites;
  Probed probed{d, std::nullopt};
  if (run.evaluation.importances == MeasuredImportances::topk_attribution)
    probed.kept = largest_masks(plan_of(run.objective))->kept;
  return std::visit(
      [&](const auto& metric) -> std::unique_ptr<Gatherer> {
        using Kind = std::decay_t<decltype(metric)>;
        if constexpr (std::is_same_v<Kind, CeKlMetric>) {
          VPD_CHECK(d.target->predicts_next_token(), ConfigError,
                    "{}.type: expected a metric of this target, found ce_kl, which needs a language model: "
                    "remove it (losses and pgd measure divergence on any target)",
                    where);
          return make_ce_kl(metric);
        }
        if constexpr (std::is_same_v<Kind, CiL0Metric>) return make_ci_l0(metric, sites, where);
        if constexpr (std::is_same_v<Kind, AliveMetric>) return make_alive(metric, sites);
        if constexpr (std::is_same_v<Kind, CiHistogramMetric>) return make_ci_histogram(metric, sites);
        if constexpr (std::is_same_v<Kind, HiddenActsMetric>) return make_hidden_acts(sites);
        if constexpr (std::is_same_v<Kind, LossesMetric>)
          return make_losses(plan_of(run.objective), TermRows::target, step, run.training.steps);
        if constexpr (std::is_same_v<Kind, PgdMetric>) return make_pgd(metric, number);
        if constexpr (std::is_same_v<Kind, IdentityCiErrorMetric>)
          return make_identity_ci_error(metric, probed, where);
        if constexpr (std::is_same_v<Kind, DenseCiErrorMetric>)
          return make_dense_ci_error(metric, probed, where);
        if constexpr (std::is_same_v<Kind, MmcsMetric>) return make_mmcs(metric, probed, where);
        if constexpr (std::is_same_v<Kind, L2RatioMetric>) return make_l2_ratio(metric, probed, where);
        if constexpr (std::is_same_v<Kind, InductionMatchMetric>)
          return make_induction_match(metric, d, where);
      },
      run.evaluation.metrics[number]);
}

std::string place_of(std::size_t number);

/// Adds what is measured of the background's rows.
void evaluate_background(const Decomposition& d, const RunConfig& config, const Dataset& rows,
                         std::int64_t step, const MetricChoice& wanted, Lanes& lanes,
                         const std::function<bool()>& stop,
                         const std::function<void(const std::string&)>& status, MetricValues& values) {
  const EvaluationConfig& settings = config.evaluation;
  Gatherers losses, sparsity;
  for (std::size_t k = 0; k < settings.metrics.size(); ++k) {
    if (wanted && !wanted(settings.metrics[k])) continue;
    if (std::holds_alternative<LossesMetric>(settings.metrics[k]))
      losses.push_back(
          make_losses(plan_of(config.objective), TermRows::background, step, config.training.steps));
    if (const auto* l0 = std::get_if<CiL0Metric>(&settings.metrics[k]))
      sparsity.push_back(make_ci_l0(*l0, d.sites, place_of(k)));
  }
  const auto show = [&](const Gatherers& some, const std::string& prefix) {
    if (some.empty()) return;
    const BatchReader reader(d, rows, lanes,
                             {.rows = settings.batch_size,
                              .seed = config.seed,
                              .outputs = need_outputs(some),
                              .compared = rows.compared(),
                              .stop = stop});
    gather(some, reader, settings.batches, stop, status);
    MetricValues found;
    for (const auto& metric : some) metric->report(found);
    for (const auto& [name, value] : found) values.emplace_back(prefix + name, value);
  };
  show(losses, "");  // terms have names of their own
  show(sparsity, "background/");
}

std::string place_of(std::size_t number) { return fmt::format("evaluation.metrics[{}]", number); }

}  // namespace

void check_metrics(const Decomposition& decomposition, const RunConfig& config,
                   const std::string& config_name) {
  const std::vector<MetricConfig>& metrics = config.evaluation.metrics;
  for (std::size_t k = 0; k < metrics.size(); ++k)
    make_metric(config, k, decomposition, 0, fmt::format("{}: {}", config_name, place_of(k)));
}

bool is_fast(const MetricConfig& metric) {
  return !std::visit([](const auto& kind) { return kind.slow; }, metric);
}

std::map<std::string, std::string> attack_budgets(const RunConfig& config, const MetricChoice& wanted) {
  const auto budget = [](std::int64_t steps, double size) { return fmt::format("{} × {:g}", steps, size); };
  std::map<std::string, std::string> budgets;
  for (const MetricConfig& metric : config.evaluation.metrics) {
    if (wanted && !wanted(metric)) continue;
    if (const auto* pgd = std::get_if<PgdMetric>(&metric)) {
      std::string& text = budgets["pgd/" + pgd->name] = budget(pgd->steps, pgd->step_size);
      if (pgd->batches > 1) text += fmt::format(", {} batches together", pgd->batches);
    }
    if (!std::holds_alternative<LossesMetric>(metric)) continue;
    for (const TermPlan& term : plan_of(config.objective)) {
      const AdversaryConfig* adversary = term.adversary();
      if (!adversary) continue;
      const FreshAdversaryConfig attack = evaluation_attack(*adversary);
      budgets["loss/" + term.label] = budget(attack.steps, attack.step_size);
    }
  }
  return budgets;
}

MetricValues evaluate(const Decomposition& decomposition, const RunConfig& config, const EvaluationData& data,
                      std::int64_t step, const MetricChoice& wanted, Lanes& lanes, MetricArrays* arrays,
                      const std::function<bool()>& stop,
                      const std::function<void(const std::string&)>& status) {
  const EvaluationConfig& settings = config.evaluation;
  Gatherers metrics;
  for (std::size_t k = 0; k < settings.metrics.size(); ++k) {
    if (wanted && !wanted(settings.metrics[k])) continue;
    metrics.push_back(make_metric(config, k, decomposition, step, place_of(k)));
  }
  BatchReader::Options options{.rows = settings.batch_size,
                               .seed = config.seed,
                               .outputs = need_outputs(metrics),
                               .compared = data.rows.compared(),
                               .kept = {},
                               .stop = stop};
  if (settings.importances == MeasuredImportances::topk_attribution)
    options.kept = largest_masks(plan_of(config.objective))->kept;
  gather(metrics, BatchReader(decomposition, data.rows, lanes, options), settings.batches, stop, status);
  MetricValues values;
  for (const auto& metric : metrics) {
    metric->report(values);
    if (arrays) metric->report_arrays(*arrays);
  }
  if (data.background)
    evaluate_background(decomposition, config, *data.background, step, wanted, lanes, stop, status, values);
  return values;
}

}  // namespace vpd
