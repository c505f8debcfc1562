#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "foreign_map.hpp"
#include "vpd/config/run.hpp"

namespace vpd {

/// The configuration of a run of the original PyTorch code (final_config.yaml), as ours, and a sentence for
/// everything that has no counterpart here. Paths of target and data are left empty.
///
/// Throws DataError where the file is none, and for each setting under which the run's weights would mean
/// something else here than there: another squashing of causal importances, inputs of the causal-importance
/// function that are not its sites', identity matrices as sites, a target of another family.
struct TranslatedConfig {
  RunConfig config;
  std::vector<std::string> warnings;
};
TranslatedConfig translate_config(const std::filesystem::path& file);

/// Parts of the above, which add to `warnings`.
ObjectiveConfig translate_objective(ForeignMap& top, std::vector<std::string>& warnings);
EvaluationConfig translate_evaluation(ForeignMap& top, const ObjectiveConfig& objective, bool delta_component,
                                      std::vector<std::string>& warnings);
CausalImportanceConfig translate_causal_importance(ForeignMap& top);
Schedule translate_schedule(ForeignMap schedule, std::vector<std::string>& warnings);
/// A sentence for each key that nobody asked for.
void warn_of_unasked(const ForeignMap& map, std::vector<std::string>& warnings);

}  // namespace vpd
