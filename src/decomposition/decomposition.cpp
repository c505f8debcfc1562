#include "vpd/decomposition/decomposition.hpp"

#include <algorithm>
#include <system_error>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/kernels/squash.hpp"

namespace vpd {

Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics, const std::string& source,
                                 std::unique_ptr<Target> target) {
  Decomposition d;
  d.numerics = numerics;
  d.target = std::move(target);
  d.sites = match_sites(shapes_of(*d.target), config.sites, source);
  d.delta_component = config.delta_component;
  d.components = make_subcomponents(d.sites, numerics);
  d.ci = make_causal_importance(config.causal_importance, d.sites, numerics);
  d.ci_parameters = ParameterSet(d.ci->parameters(), numerics);
  initialise_subcomponents(d.components, d.sites, config.seed);
  d.ci->initialise(d.ci_parameters, config.seed);
  return d;
}

Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics, const std::string& source,
                                 std::vector<std::string>& warnings) {
  return make_decomposition(config, numerics, source, load_target(config.target, numerics, warnings));
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

CleanPass clean_pass(const Decomposition& decomposition, const at::Tensor& input, bool keep_outputs) {
  const at::NoGradGuard no_grad;
  RecordingExecutor executor(decomposition.sites.of_matrix(), decomposition.sites.size(), keep_outputs);
  CleanPass clean;
  clean.input = input;
  clean.output = decomposition.target->forward(input, executor);
  clean.inputs = std::move(executor.inputs);
  clean.outputs = std::move(executor.outputs);
  return clean;
}

bool importance_reaches_components(const Decomposition& decomposition) {
  const auto reads_V = [](const Site& site) { return site.embedding; };
  return decomposition.ci->reaches_components() ||
         std::any_of(decomposition.sites.begin(), decomposition.sites.end(), reads_V);
}

Importance causal_importance(const Decomposition& decomposition, const CleanPass& clean,
                             const std::vector<Parameter>& parameters,
                             const std::vector<Parameter>& components, bool want_lower,
                             const GradientsReady& ready) {
  std::vector<at::Tensor> inputs = clean.inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (decomposition.sites[i].embedding) inputs[i] = embedding(inputs[i], components[2 * i]);
  }
  Importance importance;
  const Numerics& numerics = decomposition.numerics;
  importance.z = decomposition.ci->forward_telling(inputs, clean.B(), parameters, components, ready);
  if (importance.z.scalar_type() != numerics.compute) importance.z = importance.z.to(numerics.wide);
  importance.z = importance.z.contiguous();  // a custom function's need not be
  if (want_lower) importance.lower = importance.z.detach().to(numerics.wide).clamp(0.0, 1.0);
  return importance;
}

}  // namespace vpd
