#pragma once

// The metrics of a configuration, each a gatherer.

#include <memory>
#include <optional>
#include <string>

#include "vpd/base/error.hpp"
#include "vpd/config/evaluation.hpp"
#include "vpd/evaluation/gatherer.hpp"

namespace vpd {

std::unique_ptr<Gatherer> make_ce_kl(const CeKlMetric& config);
/// ConfigError where a group has the name of a site; `where` names the metric.
std::unique_ptr<Gatherer> make_ci_l0(const CiL0Metric& config, const Sites& sites, const std::string& where);
std::unique_ptr<Gatherer> make_alive(const AliveMetric& config, const Sites& sites);
std::unique_ptr<Gatherer> make_ci_histogram(const CiHistogramMetric& config, const Sites& sites);
std::unique_ptr<Gatherer> make_hidden_acts(const Sites& sites);
/// The objective's terms of these rows at `step` of `steps`.
std::unique_ptr<Gatherer> make_losses(ObjectivePlan objective, TermRows rows, std::int64_t step,
                                      std::int64_t steps);
std::unique_ptr<Gatherer> make_pgd(const PgdMetric& config, std::size_t number);

/// What probes of a toy model are given to.
struct Probed {
  const Decomposition& decomposition;
  /// Where evaluation.importances is topk_attribution: subcomponents a position that are kept.
  std::optional<double> kept;
};

/// Of toy models whose mechanisms are known; `where` names the metric in errors. ConfigError where the target
/// or its sites are not what the metric is about.
std::unique_ptr<Gatherer> make_identity_ci_error(const IdentityCiErrorMetric& config, const Probed& probed,
                                                 const std::string& where);
std::unique_ptr<Gatherer> make_dense_ci_error(const DenseCiErrorMetric& config, const Probed& probed,
                                              const std::string& where);
std::unique_ptr<Gatherer> make_mmcs(const MmcsMetric& config, const Probed& probed, const std::string& where);
std::unique_ptr<Gatherer> make_l2_ratio(const L2RatioMetric& config, const Probed& probed,
                                        const std::string& where);
std::unique_ptr<Gatherer> make_induction_match(const InductionMatchMetric& config, const Decomposition& d,
                                               const std::string& where);

/// Mean loss on the batch after a fresh adversary's ascent (method, section 6), routed and compared as `plan`
/// says. `stream` tells adversaries of one batch apart.
double attack(const Batch& batch, const FreshAdversaryConfig& adversary, const ReconstructionPlan& plan,
              std::uint64_t stream);

}  // namespace vpd
