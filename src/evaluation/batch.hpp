#pragma once

// One evaluation batch, divided among lanes, and what every metric does with it.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/stop.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {

/// A lane's rows of an evaluation batch.
struct LaneBatch {
  std::int64_t first_batch = 0;  ///< number of its first row in the batch
  CleanPass clean;
  Importance importance;
};

struct EvaluationBatch {
  const Decomposition& decomposition;
  const RunConfig& config;
  Lanes& pool;
  std::int64_t number = 0;  ///< of the batch
  std::int64_t B = 0;
  std::int64_t T = 0;
  std::vector<Parameter> components;  ///< frozen
  std::vector<LaneBatch> lanes;
  /// Computes any batch of the evaluation, by its number, anew.
  std::function<EvaluationBatch(std::int64_t)> again;
  std::function<bool()> stop;  ///< asked before every pass
  mutable at::Tensor kept;     ///< what kept_by_attribution() gives, once it has been asked for

  std::int64_t positions() const { return B * T; }

  /// What a masked pass over a lane's rows reads; `importance` in place of the lane's own where defined.
  PassContext context(const LaneBatch& lane, const at::Tensor& importance = {}) const {
    return {.decomposition = &decomposition,
            .clean = &lane.clean,
            .importance = importance.defined() ? importance : lane.importance.lower,
            .components = &components,
            .first_row = (number * B + lane.first_batch) * T};
  }
  RandomKey key(RandomPurpose purpose, std::uint64_t a, std::uint64_t b = 0) const {
    return make_key(config.seed, purpose, std::uint64_t{1} << 63 | a, b);
  }
  /// Σ over lanes of work(lane), computed side by side without gradients.
  at::Tensor sum_tensors(const std::function<at::Tensor(const LaneBatch&)>& work) const {
    end_if_asked(stop, "the evaluation");
    std::vector<at::Tensor> parts(lanes.size());
    pool.run([&](int i) {
      const auto lane = static_cast<std::size_t>(i);
      if (lane >= lanes.size()) return;  // fewer rows than lanes
      const at::NoGradGuard no_grad;
      parts[lane] = work(lanes[lane]);
    });
    at::Tensor total = parts.front();
    for (std::size_t i = 1; i < parts.size(); ++i) total = total + parts[i];
    return total;
  }
  double sum(const std::function<at::Tensor(const LaneBatch&)>& work) const {
    return sum_tensors(work).item<double>();
  }
};

/// 1 where the objective's topk_attribution_recon keeps a subcomponent of the batch and 0 elsewhere: wide [B
/// T, Σ C] (method, section 5).
at::Tensor kept_by_attribution(const EvaluationBatch& batch);

/// A metric gathers over batches and then names its values.
class Metric {
 public:
  virtual ~Metric() = default;
  virtual void add(const EvaluationBatch& batch) = 0;
  virtual void finish() {}  ///< after the last batch
  virtual void report(MetricValues& values) const = 0;
  virtual void report_arrays(MetricArrays& /*arrays*/) const {}
};

std::unique_ptr<Metric> make_ce_kl(const CeKlMetric& config);
/// ConfigError where a group has the name of a site; `where` names the metric.
std::unique_ptr<Metric> make_ci_l0(const CiL0Metric& config, const Sites& sites, const std::string& where);
std::unique_ptr<Metric> make_alive(const AliveMetric& config, const Sites& sites);
std::unique_ptr<Metric> make_ci_histogram(const CiHistogramMetric& config, const Sites& sites);
std::unique_ptr<Metric> make_hidden_acts(const Sites& sites);
std::unique_ptr<Metric> make_losses(std::int64_t step);
std::unique_ptr<Metric> make_pgd(const PgdMetric& config, std::size_t number);

/// What probes of a toy model are given to.
struct Probed {
  const Decomposition& decomposition;
  /// Where evaluation.importances is topk_attribution: subcomponents a position that are kept.
  std::optional<double> kept;
};

/// Of toy models whose mechanisms are known; `where` names the metric in errors. ConfigError where the target
/// or its sites are not what the metric is about.
std::unique_ptr<Metric> make_identity_ci_error(const IdentityCiErrorMetric& config, const Probed& probed,
                                               const std::string& where);
std::unique_ptr<Metric> make_dense_ci_error(const DenseCiErrorMetric& config, const Probed& probed,
                                            const std::string& where);
std::unique_ptr<Metric> make_mmcs(const MmcsMetric& config, const Probed& probed, const std::string& where);
std::unique_ptr<Metric> make_l2_ratio(const L2RatioMetric& config, const Probed& probed,
                                      const std::string& where);
std::unique_ptr<Metric> make_induction_match(const InductionMatchMetric& config, const Decomposition& d,
                                             const std::string& where);

/// Mean loss on the batch after a fresh adversary's ascent (method, section 6). `stream` tells
/// adversaries of one batch apart.
double attack(const EvaluationBatch& batch, const FreshAdversaryConfig& adversary,
              const RoutingConfig& routing, std::uint64_t stream, Comparison comparison = Comparison::output);

}  // namespace vpd
