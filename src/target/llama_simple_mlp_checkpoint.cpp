#include <cmath>

#include <ATen/ATen.h>

#include "initial_weights.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {

namespace fs = std::filesystem;

std::pair<ModelConfig, bool> describe_llama_simple_mlp(const fs::path& directory,
                                                       std::vector<std::string>& warnings) {
  const ModelConfig config = read_model_config(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  const bool untied_head = file.find("lm_head.weight") != nullptr;
  check_headers(file, llama_simple_mlp_weights(config, untied_head));
  return {config, untied_head};
}

LlamaSimpleMlpCheckpoint read_llama_simple_mlp(const fs::path& directory,
                                               std::vector<std::string>& warnings) {
  LlamaSimpleMlpCheckpoint checkpoint;
  checkpoint.config = read_model_config(find_model_config(directory), warnings);
  checkpoint.weights_file = find_weights(directory);
  const SafetensorsFile file(checkpoint.weights_file);
  checkpoint.weights =
      read_weights(file, llama_simple_mlp_weights(checkpoint.config, file.find("lm_head.weight") != nullptr),
                   "LlamaSimpleMLP", warnings);
  return checkpoint;
}

NamedTensors initial_llama_simple_mlp(const ModelConfig& config, std::uint64_t seed) {
  InitialWeights draws(seed);
  const double residual = 1.0 / std::sqrt(2.0 * static_cast<double>(config.n_layer));
  NamedTensors weights;
  for (const TensorSpec& spec : llama_simple_mlp_weights(config, /*untied_head=*/false)) {
    if (spec.shape.size() == 1) {
      weights.emplace_back(spec.name, at::full(spec.shape, spec.name.ends_with(".bias") ? 0.0 : 1.0));
    } else {
      const bool writes_residual =
          spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
      weights.emplace_back(spec.name, draws.normal(spec.shape, 0.02 * (writes_residual ? residual : 1.0)));
    }
  }
  return weights;
}

void write_llama_simple_mlp(const fs::path& directory, const ModelConfig& config,
                            const NamedTensors& weights) {
  write_checkpoint(directory, model_config_json(config), weights);
}

}  // namespace vpd
