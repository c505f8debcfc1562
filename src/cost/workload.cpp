#include "vpd/cost/workload.hpp"

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/training/step.hpp"

namespace vpd {
CausalImportanceCost Workload::importance_cost(std::int64_t N) const {
  return ci->cost(N, T).value_or(CausalImportanceCost{});
}

Workload make_workload(const RunConfig& config, const Architecture& target, const Numerics& numerics,
                       int threads, const std::string& source) {
  Workload w;
  w.target = target;
  w.sites = match_sites(target.matrices, config.sites, source);
  // On LibTorch's meta device a tensor has a shape and no memory.
  Numerics shapes_only = numerics;
  shapes_only.device = at::kMeta;
  w.components = make_subcomponents(w.sites, shapes_only);
  w.causal_importance = config.causal_importance;
  w.ci = make_causal_importance(config.causal_importance, w.sites, numerics);
  w.ci_parameters = ParameterSet(w.ci->parameters(), shapes_only);
  w.objective = config.objective;
  w.training = config.training;
  w.evaluation = config.evaluation;
  w.delta_component = config.delta_component;
  w.numerics = numerics;
  w.T = row_length(config.data.train);
  w.evaluation_T = row_length(config.data.eval);
  VPD_CHECK(w.T <= target.longest_sequence, ConfigError,
            "{}: data.train.sequence_length: expected at most the {} tokens that the target takes, found {}",
            source, target.longest_sequence, w.T);
  if (const auto* topk = find_term<TopkAttributionReconTerm>(w.objective))
    check_kept(topk->k, w.B() * w.T, w.sites, source + ": objective: topk_attribution_recon.k");
  w.lanes = suitable_lanes(numerics.device, w.micro(), threads,
                           gradients_of_a_lane(w.components, w.ci_parameters, *w.ci));
  return w;
}

}  // namespace vpd
