#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foreign_state.hpp"
#include "vpd/config/llama_simple_mlp.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/ops/parameter_set.hpp"

namespace vpd {

inline constexpr std::string_view target_prefix = "target_model.";
inline std::string in_target(const std::string& name) { return std::string(target_prefix) + name; }

/// What a run learned: names and shapes.
struct Learned {
  Sites sites;
  std::vector<TensorSpec> components;
  std::vector<TensorSpec> importance;
};

/// From the checkpoint's own sites; `config.sites` names each of them where its patterns mean others.
/// `config_name` is the configuration's file. Throws DataError where the checkpoint decomposes what there is
/// not here, or where rows are longer than the target takes.
Learned learned_by(RunConfig& config, const LlamaSimpleMlpConfig& model, const ForeignState& state,
                   const std::string& config_name, std::vector<std::string>& warnings);

/// V and U under their names here.
NamedTensors take_components(ForeignState& state, const Learned& learned);

/// The causal-importance function's parameters under their names and in their layout here. Throws DataError
/// also where its tables of angles are not those of `config`.
NamedTensors take_causal_importance(ForeignState& state, const Learned& learned,
                                    const CausalImportanceConfig& config);

/// Throws DataError where a tensor of the decomposition was not taken; a sentence for any other.
void check_nothing_left(ForeignState& state, std::vector<std::string>& warnings);

}  // namespace vpd
