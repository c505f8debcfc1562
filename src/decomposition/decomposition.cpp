#include "vpd/decomposition/decomposition.hpp"

#include <algorithm>
#include <system_error>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/kernels/squash.hpp"

namespace vpd {

std::size_t Decomposition::first_block() const {
  std::size_t first = target->blocks();
  for (const Site& site : sites) first = std::min(first, target->block_of(target->matrices()[site.matrix]));
  return first;
}

Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics,
                                 const std::string& config_name, std::unique_ptr<Target> target) {
  Decomposition d;
  d.numerics = numerics;
  d.target = std::move(target);
  d.sites = match_sites(shapes_of(*d.target), config.sites, config_name);
  d.delta_component = config.delta_component;
  d.components = Subcomponents(d.sites, numerics);
  d.ci = make_causal_importance(config.causal_importance, d.sites, numerics);
  d.ci_parameters = ParameterSet(d.ci->parameters(), numerics);
  d.components.initialise(d.sites, config.seed);
  d.ci->initialise(d.ci_parameters, config.seed);
  return d;
}

Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics,
                                 const std::string& config_name, std::vector<std::string>& warnings) {
  return make_decomposition(config, numerics, config_name, load_target(config.target, numerics, warnings));
}

void load_weights(Decomposition& decomposition, const std::filesystem::path& checkpoint) {
  std::error_code error;
  VPD_CHECK(!std::filesystem::is_directory(checkpoint / "checkpoints", error), DataError,
            "{}: expected a checkpoint, found the directory of a run: name one of its checkpoints, as in {}",
            checkpoint.string(), (checkpoint / "checkpoints" / "latest").string());
  decomposition.components.load(checkpoint / components_file);
  decomposition.ci_parameters.load(checkpoint / causal_importance_file);
}

void save_weights(const Decomposition& decomposition, const std::filesystem::path& checkpoint) {
  const auto save = [&](const ParameterSet& parameters, const char* name) {
    NamedTensors tensors;
    for (const auto& [key, value] : parameters.named(parameters.flat()))
      tensors.emplace_back(key, value.to(at::kFloat));
    save_safetensors(checkpoint / name, tensors);
  };
  save(decomposition.components, components_file);
  save(decomposition.ci_parameters, causal_importance_file);
}

bool importance_reaches_components(const Decomposition& decomposition) {
  const auto reads_V = [](const Site& site) { return site.embedding; };
  return decomposition.ci->reaches_components() ||
         std::any_of(decomposition.sites.begin(), decomposition.sites.end(), reads_V);
}

}  // namespace vpd
