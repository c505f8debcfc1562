#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/causal_importance.hpp"
#include "vpd/decomposition/masked_executor.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/ops/parameter_set.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// A target, its sites, and the parameters that are learned about it.
struct Decomposition {
  Numerics numerics;
  std::unique_ptr<Target> target;
  Sites sites;
  bool delta_component = true;
  Subcomponents components;
  std::unique_ptr<CausalImportance> ci;
  ParameterSet ci_parameters;

  const Matrix& matrix(std::size_t site) const { return target->matrices()[sites[site].matrix]; }

  /// The first block of the target that has a site: nothing before it changes under masks.
  std::size_t first_block() const;

  /// The target's head where it is a matrix that is no site, else null.
  const Matrix* frozen_head() const {
    const Matrix* head = target->head();
    return head && sites.of_matrix()[head->index] < 0 ? head : nullptr;
  }
};

/// Loads the target and makes the parameters, initialised from `config.seed`. `config_name` names the
/// configuration in errors: ConfigError where a pattern of `sites` matches nothing, DataError for a target
/// that cannot be read.
Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics,
                                 const std::string& config_name, std::vector<std::string>& warnings);

/// The same for a target that is already there, whatever `config.target` says.
Decomposition make_decomposition(const RunConfig& config, const Numerics& numerics,
                                 const std::string& config_name, std::unique_ptr<Target> target);

/// Names of a checkpoint's two weight files.
inline constexpr const char* components_file = "decomposition.safetensors";
inline constexpr const char* causal_importance_file = "causal_importance.safetensors";

/// Takes V, U and the causal-importance function from a checkpoint directory. Both throw DataError naming the
/// file: one that is missing or damaged, has other tensors than the decomposition, or cannot be written.
void load_weights(Decomposition& decomposition, const std::filesystem::path& checkpoint);
void save_weights(const Decomposition& decomposition, const std::filesystem::path& checkpoint);

/// Whether the backward pass of causal importances may add to gradients of U or V: those of a kind of
/// function that reads them, or of embeddings, whose rows of V are what the function reads.
bool importance_reaches_components(const Decomposition& decomposition);

}  // namespace vpd
