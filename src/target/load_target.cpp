// One pair of functions for each kind of target that a configuration can name.

#include <variant>

#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

using Warnings = std::vector<std::string>;

std::unique_ptr<Target> load(const LlamaSimpleMlpTarget& target, const Numerics& numerics,
                             Warnings& warnings) {
  const LlamaSimpleMlpCheckpoint checkpoint = read_llama_simple_mlp(target.path, warnings);
  return std::make_unique<LlamaSimpleMlp>(checkpoint.config, checkpoint.weights, numerics);
}

Architecture architecture_of(const LlamaSimpleMlpTarget& target, Warnings& warnings) {
  const auto [config, untied_head] = describe_llama_simple_mlp(target.path, warnings);
  return llama_simple_mlp_architecture(config, untied_head);
}

}  // namespace

std::unique_ptr<Target> load_target(const TargetConfig& config, const Numerics& numerics,
                                    Warnings& warnings) {
  return std::visit([&](const auto& target) { return load(target, numerics, warnings); }, config);
}

Architecture describe_target(const TargetConfig& config, Warnings& warnings) {
  return std::visit([&](const auto& target) { return architecture_of(target, warnings); }, config);
}

}  // namespace vpd
