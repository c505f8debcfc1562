#include "vpd/evaluation/evaluate.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>

#include <ATen/ATen.h>

#include "batch.hpp"
#include "vpd/base/error.hpp"
#include "vpd/passes/attribution.hpp"

namespace vpd {
namespace {

/// `number`: its place in the configuration, which sets its random numbers apart; `where` names it in errors.
std::unique_ptr<Metric> make_metric(const RunConfig& run, std::size_t number, const Decomposition& d,
                                    std::int64_t step, const std::string& where) {
  const Sites& sites = d.sites;
  Probed probed{d, std::nullopt};
  if (run.evaluation.importances == MeasuredImportances::topk_attribution)
    probed.kept = find_term<TopkAttributionReconTerm>(run.objective)->k;
  return std::visit(
      [&](const auto& metric) -> std::unique_ptr<Metric> {
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
        if constexpr (std::is_same_v<Kind, LossesMetric>) return make_losses(step);
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

/// What metrics see in place of the function's importances.
void take_kept_for_importances(EvaluationBatch& batch) {
  const at::Tensor kept = kept_by_attribution(batch);
  for (LaneBatch& lane : batch.lanes) {
    const at::Tensor own = kept.narrow(0, lane.first_batch * batch.T, lane.clean.N());
    lane.importance = {own, own};
  }
}

std::string place_of(std::size_t number) { return fmt::format("evaluation.metrics[{}]", number); }

}  // namespace

void check_metrics(const Decomposition& decomposition, const RunConfig& config, const std::string& source) {
  const std::vector<MetricConfig>& metrics = config.evaluation.metrics;
  for (std::size_t k = 0; k < metrics.size(); ++k)
    make_metric(config, k, decomposition, 0, fmt::format("{}: {}", source, place_of(k)));
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
    for (const TermConfig& term : config.objective) {
      const AdversaryConfig* adversary = adversary_of(term);
      if (!adversary) continue;
      const FreshAdversaryConfig attack = evaluation_attack(*adversary);
      budgets["loss/" + label(term)] = budget(attack.steps, attack.step_size);
    }
  }
  return budgets;
}

at::Tensor kept_by_attribution(const EvaluationBatch& batch) {
  if (batch.kept.defined()) return batch.kept;
  const Decomposition& d = batch.decomposition;
  const double k = find_term<TopkAttributionReconTerm>(batch.config.objective)->k;
  const at::Tensor scores = at::zeros({batch.positions(), d.sites.total_C()}, d.numerics.options());
  batch.pool.run([&](int i) {
    if (static_cast<std::size_t>(i) >= batch.lanes.size()) return;  // fewer rows than lanes
    const LaneBatch& lane = batch.lanes[static_cast<std::size_t>(i)];
    attribute(d, lane.clean, batch.components, scores.narrow(0, lane.first_batch * batch.T, lane.clean.N()));
  });
  keep_largest(scores, kept_count(k, batch.positions(), d.sites));
  return batch.kept = scores;
}

MetricValues evaluate(const Decomposition& decomposition, const RunConfig& config, const Dataset& eval,
                      std::int64_t step, const MetricChoice& wanted, Lanes& lanes, MetricArrays* arrays,
                      const std::function<bool()>& stop,
                      const std::function<void(const std::string&)>& status) {
  const EvaluationConfig& settings = config.evaluation;
  std::vector<std::unique_ptr<Metric>> metrics;
  bool outputs = false;
  for (std::size_t k = 0; k < settings.metrics.size(); ++k) {
    if (wanted && !wanted(settings.metrics[k])) continue;
    metrics.push_back(make_metric(config, k, decomposition, step, place_of(k)));
    outputs = outputs || std::holds_alternative<HiddenActsMetric>(settings.metrics[k]) ||
              (std::holds_alternative<LossesMetric>(settings.metrics[k]) &&
               find_term<HiddenActsReconTerm>(config.objective));
  }
  const std::vector<Parameter> ci_parameters = decomposition.ci_parameters.bind({});
  const auto rows_of_batch = [&](std::int64_t k) {
    const std::int64_t first = k * settings.batch_size;
    return std::min(settings.batch_size, eval.rows().value_or(first + settings.batch_size) - first);
  };
  const std::function<EvaluationBatch(std::int64_t)> make_batch = [&](std::int64_t k) {
    const std::int64_t rows = rows_of_batch(k);
    const at::Tensor input = eval.batch(k * settings.batch_size, rows);
    EvaluationBatch batch{
        decomposition, config, lanes, k, rows, eval.length(), decomposition.components.bind({}), {},
        make_batch,    stop};
    const int used = static_cast<int>(std::min<std::int64_t>(lanes.count(), rows));
    batch.lanes.resize(static_cast<std::size_t>(used));
    lanes.run([&](int i) {
      if (i >= used) return;
      const at::NoGradGuard no_grad;
      const Range part = lane_range(rows, i, used);
      LaneBatch& lane = batch.lanes[static_cast<std::size_t>(i)];
      lane.first_batch = part.begin;
      lane.clean = clean_pass(
          decomposition, input.narrow(0, part.begin, part.size()).to(decomposition.numerics.device), outputs);
      lane.importance = causal_importance(decomposition, lane.clean, ci_parameters, batch.components);
    });
    if (settings.importances == MeasuredImportances::topk_attribution) take_kept_for_importances(batch);
    return batch;
  };
  for (std::int64_t k = 0; k < settings.batches && rows_of_batch(k) > 0; ++k) {
    end_if_asked(stop, "the evaluation");
    if (status) status(fmt::format("measuring batch {} of {}", k + 1, settings.batches));
    const EvaluationBatch batch = make_batch(k);
    for (const auto& metric : metrics) metric->add(batch);
  }
  MetricValues values;
  for (const auto& metric : metrics) {
    metric->finish();
    metric->report(values);
    if (arrays) metric->report_arrays(*arrays);
  }
  return values;
}

}  // namespace vpd
