#include <algorithm>
#include <cmath>
#include <set>
#include <system_error>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"
#include "vpd/kernels/philox.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

fs::path find_model_config(const fs::path& directory) {
  VPD_CHECK(fs::is_directory(directory), DataError,
            "{}: expected a directory with model_config.yaml or .json beside one .safetensors file",
            directory.string());
  for (const char* name : {"model_config.yaml", "model_config.yml", "model_config.json"}) {
    if (fs::exists(directory / name)) return directory / name;
  }
  throw DataError(fmt::format("{}: expected model_config.yaml or model_config.json, found neither{}",
                              directory.string(),
                              fs::exists(directory / "config.json")
                                  ? "; with a config.json, Hugging Face's layout, the target's type is hf"
                                  : ""));
}

fs::path find_weights(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  VPD_CHECK(found.size() == 1, DataError, "{}: expected one .safetensors file, found {}{}",
            directory.string(), found.size(),
            found.empty()
                ? ""
                : fmt::format(" ({}, {} ...)", found[0].filename().string(), found[1].filename().string()));
  return found.front();
}

}  // namespace

std::pair<ModelConfig, bool> describe_llama_simple_mlp(const fs::path& directory,
                                                       std::vector<std::string>& warnings) {
  const ModelConfig config = read_model_config(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  const bool untied_head = file.find("lm_head.weight") != nullptr;
  for (const WeightSpec& spec : llama_simple_mlp_weights(config, untied_head))
    check_header(file, spec.name, spec.shape);
  return {config, untied_head};
}

LlamaSimpleMlpCheckpoint read_llama_simple_mlp(const fs::path& directory,
                                               std::vector<std::string>& warnings) {
  LlamaSimpleMlpCheckpoint checkpoint;
  checkpoint.config = read_model_config(find_model_config(directory), warnings);
  checkpoint.weights_file = find_weights(directory);
  const SafetensorsFile file(checkpoint.weights_file);
  std::set<std::string> known;
  for (const WeightSpec& spec :
       llama_simple_mlp_weights(checkpoint.config, file.find("lm_head.weight") != nullptr)) {
    checkpoint.weights.emplace_back(spec.name, load_checked(file, spec.name, spec.shape));
    known.insert(spec.name);
  }
  for (const TensorInfo& tensor : file.tensors()) {
    if (!known.contains(tensor.name)) {
      warnings.push_back(fmt::format("{}: the tensor {} is not part of a LlamaSimpleMLP and was passed over",
                                     file.path().string(), tensor.name));
    }
  }
  return checkpoint;
}

NamedTensors initial_llama_simple_mlp(const ModelConfig& config, std::uint64_t seed) {
  const RandomKey key = make_key(seed, RandomPurpose::initial_target);
  auto generator = at::detail::createCPUGenerator((static_cast<std::uint64_t>(key.high) << 32) | key.low);
  const double residual = 1.0 / std::sqrt(2.0 * static_cast<double>(config.n_layer));
  NamedTensors weights;
  for (const WeightSpec& spec : llama_simple_mlp_weights(config, /*untied_head=*/false)) {
    at::Tensor weight = at::empty(spec.shape, at::kFloat);
    if (spec.name.ends_with(".bias")) {
      weight.zero_();
    } else if (spec.shape.size() == 1) {
      weight.fill_(1.0);
    } else {
      const bool writes_residual =
          spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
      weight.normal_(0.0, 0.02 * (writes_residual ? residual : 1.0), generator);
    }
    weights.emplace_back(spec.name, weight);
  }
  return weights;
}

void write_llama_simple_mlp(const fs::path& directory, const ModelConfig& config,
                            const NamedTensors& weights) {
  std::error_code error;
  fs::create_directories(directory, error);
  VPD_CHECK(!error, DataError, "{}: cannot make this directory: {}", directory.string(), error.message());
  save_safetensors(directory / "model.safetensors", weights, {{"format", "pt"}});
  write_atomically(directory / "model_config.json", model_config_json(config));
}

}  // namespace vpd
