// One pair of functions for each kind of target that a configuration can name.

#include <variant>

#include "vpd/base/error.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/llama_simple_mlp.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/tms.hpp"

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

std::unique_ptr<Target> load(const HuggingFaceTarget& target, const Numerics& numerics, Warnings& warnings) {
  return make_target(read_huggingface(target.path, warnings), numerics);
}

Architecture architecture_of(const HuggingFaceTarget& target, Warnings& warnings) {
  return vpd::architecture_of(describe_huggingface(target.path, warnings));
}

void check_gpt2(const Gpt2Target& target, const HuggingFaceConfig& config) {
  VPD_CHECK(std::holds_alternative<Gpt2Config>(config), DataError,
            "{}: expected a model of the GPT-2 family, as target.type says, found {}: write type: hf",
            target.path.string(), family_of(config));
}

std::unique_ptr<Target> load(const Gpt2Target& target, const Numerics& numerics, Warnings& warnings) {
  const HuggingFaceCheckpoint checkpoint = read_huggingface(target.path, warnings);
  check_gpt2(target, checkpoint.config);
  return make_target(checkpoint, numerics);
}

Architecture architecture_of(const Gpt2Target& target, Warnings& warnings) {
  const HuggingFaceConfig config = describe_huggingface(target.path, warnings);
  check_gpt2(target, config);
  return vpd::architecture_of(config);
}

std::unique_ptr<Target> load(const TmsTarget& target, const Numerics& numerics, Warnings& warnings) {
  const auto [config, weights] = read_tms(target.path, warnings);
  return std::make_unique<Tms>(config, weights, numerics);
}

Architecture architecture_of(const TmsTarget& target, Warnings& warnings) {
  return tms_architecture(describe_tms(target.path, warnings));
}

std::unique_ptr<Target> load(const ResidualMlpTarget& target, const Numerics& numerics, Warnings& warnings) {
  const auto [config, weights] = read_residual_mlp(target.path, warnings);
  return std::make_unique<ResidualMlp>(config, weights, numerics);
}

Architecture architecture_of(const ResidualMlpTarget& target, Warnings& warnings) {
  return residual_mlp_architecture(describe_residual_mlp(target.path, warnings));
}

std::unique_ptr<Target> load(const InductionTarget& target, const Numerics& numerics, Warnings& warnings) {
  const auto [config, weights] = read_induction(target.path, warnings);
  return std::make_unique<InductionTransformer>(config, weights, numerics);
}

Architecture architecture_of(const InductionTarget& target, Warnings& warnings) {
  return induction_architecture(describe_induction(target.path, warnings));
}

}  // namespace

std::unique_ptr<Target> load_target(const TargetConfig& config, const Numerics& numerics,
                                    Warnings& warnings) {
  return std::visit([&](const auto& target) { return load(target, numerics, warnings); }, config);
}

Architecture describe_target(const TargetConfig& config, Warnings& warnings) {
  return std::visit([&](const auto& target) { return architecture_of(target, warnings); }, config);
}

Architecture describe_planned_target(const TargetConfig& config, Warnings& warnings) {
  if (const auto* target = std::get_if<HuggingFaceTarget>(&config))
    return architecture_of(describe_without_weights(target->path, warnings));
  if (const auto* target = std::get_if<Gpt2Target>(&config)) {
    const HuggingFaceConfig described = describe_without_weights(target->path, warnings);
    check_gpt2(*target, described);
    return architecture_of(described);
  }
  return describe_target(config, warnings);
}

}  // namespace vpd
