#include "vpd/cost/step_shape.hpp"

#include <algorithm>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/training/step.hpp"

namespace vpd {
CausalImportanceCost StepShape::importance_cost(std::int64_t N) const {
  return ci->cost(N, T).value_or(CausalImportanceCost{});
}

StepShape StepShape::background_step() const {
  StepShape shape = *this;
  shape.training.batch_size = background_B;
  shape.T = background_T;
  shape.compared = background_compared;
  shape.background_B = 0;
  shape.objective = terms_of(objective, TermRows::background);
  return shape;
}

std::size_t StepShape::first_stage() const {
  std::size_t with_site = 0;
  for (; with_site < target.stages.size(); ++with_site) {
    const Stage& stage = target.stages[with_site];
    bool has = false;
    for (std::size_t i = stage.first; i < stage.first + stage.count; ++i) has = has || site_of(i) >= 0;
    if (has) break;
  }
  std::size_t first = 0;
  // A pass over the first block begins at the input.
  for (std::size_t block = 1; block < target.blocks.size(); ++block) {
    if (target.blocks[block] <= with_site) first = target.blocks[block];
  }
  return first;
}

StepShape make_step_shape(const RunConfig& config, const Architecture& target, const Numerics& numerics,
                          int threads, const std::string& config_name) {
  StepShape w;
  w.target = target;
  w.sites = match_sites(target.matrices, config.sites, config_name);
  // On LibTorch's meta device a tensor has a shape and no memory.
  Numerics shapes_only = numerics;
  shapes_only.device = at::kMeta;
  w.components = Subcomponents(w.sites, shapes_only);
  w.causal_importance = config.causal_importance;
  w.ci = make_causal_importance(config.causal_importance, w.sites, numerics);
  w.ci_parameters = ParameterSet(w.ci->parameters(), shapes_only);
  w.objective = plan_of(config.objective);
  w.training = config.training;
  w.evaluation = config.evaluation;
  w.delta_component = config.delta_component;
  w.numerics = numerics;
  w.T = row_length(config.data.train);
  w.evaluation_T = row_length(config.data.eval);
  w.compared = compared_positions(config.data.train);
  if (config.data.background) {
    w.background_B = config.background_rows();
    w.background_T = row_length(*config.data.background);
    w.background_compared = compared_positions(*config.data.background);
  }
  VPD_CHECK(w.T <= target.longest_sequence, ConfigError,
            "{}: data.train.sequence_length: expected at most the {} tokens that the target takes, found {}",
            config_name, target.longest_sequence, w.T);
  if (const LargestMasks* largest = largest_masks(w.objective))
    check_kept(largest->kept, w.B() * w.T, w.sites, config_name + ": objective: topk_attribution_recon.k");
  const std::int64_t rows =
      w.background_B == 0 ? w.micro() : std::min(w.micro(), w.background_step().micro());
  w.lanes = suitable_lanes(numerics.device, rows, threads,
                           gradients_of_a_lane(w.components, w.ci_parameters, *w.ci));
  return w;
}

}  // namespace vpd
