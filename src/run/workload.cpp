#include "vpd/run/workload.hpp"

#include <algorithm>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/kernels/lanes.hpp"
#include "vpd/objective/attribution.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

/// The weight matrices in the order of a forward pass, which is that of the state dict with the head put
/// last.
std::vector<MatrixShape> matrix_shapes(const ModelConfig& model) {
  constexpr std::string_view ending = ".weight";
  std::vector<MatrixShape> shapes;
  for (const WeightSpec& spec : llama_simple_mlp_weights(model, /*untied_head=*/false)) {
    if (spec.shape.size() != 2 || spec.name == "wte.weight") continue;
    shapes.push_back({spec.name.substr(0, spec.name.size() - ending.size()), spec.shape[1], spec.shape[0],
                      /*in_block=*/true});
  }
  shapes.push_back({"lm_head", model.n_embd, model.vocab_size, /*in_block=*/false});
  return shapes;
}

}  // namespace

std::int64_t Workload::target_parameters() const {
  std::int64_t count = 0;
  for (const WeightSpec& spec : llama_simple_mlp_weights(model, untied_head)) {
    std::int64_t elements = 1;
    for (const std::int64_t size : spec.shape) elements *= size;
    count += elements;
  }
  return count;
}

CausalImportanceCost Workload::importance_cost(std::int64_t N) const {
  return ci->cost(N, T).value_or(CausalImportanceCost{});
}

Workload make_workload(const RunConfig& config, const ModelConfig& model, bool untied_head,
                       const Numerics& numerics, int threads, const std::string& source) {
  Workload w;
  w.model = model;
  w.untied_head = untied_head;
  w.matrices = matrix_shapes(model);
  w.sites = match_sites(w.matrices, config.sites, source);
  // On LibTorch's meta device a tensor has a shape and no memory.
  Numerics shapes_only = numerics;
  shapes_only.device = at::kMeta;
  w.components = make_subcomponents(w.sites, shapes_only);
  w.causal_importance = config.causal_importance;
  w.ci = make_causal_importance(config.causal_importance, w.sites, numerics);
  w.ci_parameters = ParameterSet(w.ci->parameters(), shapes_only);
  w.objective = config.objective;
  w.training = config.training;
  w.delta_component = config.delta_component;
  w.numerics = numerics;
  w.T = std::get<TokensData>(config.data.train).sequence_length;
  const std::int64_t longest = std::max(model.block_size, model.n_ctx.value_or(model.block_size));
  VPD_CHECK(w.T <= longest, ConfigError,
            "{}: data.train.sequence_length: expected at most the {} tokens that the target takes, found {}",
            source, longest, w.T);
  if (const auto* topk = find_term<TopkAttributionReconTerm>(w.objective))
    kept_count(topk->k, w.B() * w.T, w.sites, source + ": objective: topk_attribution_recon.k");
  w.lanes = suitable_lanes(numerics.device, w.micro(), threads,
                           w.components.flat().numel() + w.ci_parameters.flat().numel());
  return w;
}

}  // namespace vpd
