#include <cmath>

#include <ATen/ATen.h>

#include "initial_weights.hpp"
#include "vpd/base/error.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {

namespace fs = std::filesystem;

namespace {

constexpr const char *embedding_name = "wte.weight", *head_name = "lm_head.weight";

// The tensors of a file, the embedding first. Where a tied head is there and the embedding is not, the head
// is both: safetensors' save_model() keeps one name of what two modules share.
struct StoredWeights {
  std::vector<TensorSpec> specs;
  bool untied_head = false;
};

StoredWeights stored_weights(const SafetensorsFile& file, const LlamaSimpleMlpConfig& config) {
  const bool has_embedding = file.find(embedding_name) != nullptr, has_head = file.find(head_name) != nullptr;
  VPD_CHECK(has_embedding || has_head, DataError,
            "{}: expected a tensor '{}', found none of that name among {}; vpd import takes a LlamaSimpleMLP "
            "whose names have something in front",
            file.path().string(), embedding_name, file.tensors().size());
  VPD_CHECK(
      config.tied_head || (has_embedding && has_head), DataError,
      "{}: expected '{}' and '{}', as tie_word_embeddings: false in the model's configuration says, found "
      "one of the two",
      file.path().string(), embedding_name, head_name);
  StoredWeights stored{{}, has_embedding && has_head};
  stored.specs = llama_simple_mlp_weights(config, stored.untied_head);
  if (!has_embedding) stored.specs.front().name = head_name;
  return stored;
}

}  // namespace

std::pair<LlamaSimpleMlpConfig, bool> describe_llama_simple_mlp(const fs::path& directory,
                                                                std::vector<std::string>& warnings) {
  const LlamaSimpleMlpConfig config = read_model_config(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  const StoredWeights stored = stored_weights(file, config);
  check_headers(file, stored.specs);
  return {config, stored.untied_head};
}

LlamaSimpleMlpCheckpoint read_llama_simple_mlp(const fs::path& directory,
                                               std::vector<std::string>& warnings) {
  LlamaSimpleMlpCheckpoint checkpoint;
  checkpoint.config = read_model_config(find_model_config(directory), warnings);
  checkpoint.weights_file = find_weights(directory);
  const SafetensorsFile file(checkpoint.weights_file);
  checkpoint.weights =
      read_weights(file, stored_weights(file, checkpoint.config).specs, "LlamaSimpleMLP", warnings);
  checkpoint.weights.front().first = embedding_name;
  return checkpoint;
}

NamedTensors initial_llama_simple_mlp(const LlamaSimpleMlpConfig& config, std::uint64_t seed) {
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

void write_llama_simple_mlp(const fs::path& directory, const LlamaSimpleMlpConfig& config,
                            const NamedTensors& weights) {
  write_checkpoint(directory, model_config_json(config), weights);
}

}  // namespace vpd
