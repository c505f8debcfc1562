#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/config/llama_simple_mlp.hpp"

namespace vpd {

struct ImportOptions {
  /// A checkpoint (.pt, .pth, .safetensors) that the original PyTorch code wrote, or a directory of them.
  std::filesystem::path path{};
  std::filesystem::path out{};  ///< a new directory, or an empty one

  /// Of a run alone: where the shapes of its target stand, which its checkpoint does not say: a
  /// model_config.yaml or .json, or a directory with one, such as the target's own or an imported one.
  /// Weights that lie beside it have to be those of the run.
  std::optional<std::filesystem::path> target{};
  std::optional<std::filesystem::path> tokens{};  ///< of a run alone: what it is evaluated and trained on
  std::optional<std::int64_t> step{};             ///< of a directory: which checkpoint; nothing: the last
  std::string command_line{};                     ///< for provenance.json
};

struct ImportSummary {
  std::string kind;                  ///< "target" or "run"
  std::filesystem::path checkpoint;  ///< what was read
  std::filesystem::path out;
  std::optional<std::int64_t> step;  ///< of the checkpoint, where its name says it
  LlamaSimpleMlpConfig model;
  std::filesystem::path model_config;  ///< where the model's shapes stood
  std::int64_t target_parameters = 0;

  // Of a run alone.
  std::string causal_importance;  ///< its type
  std::int64_t causal_importance_parameters = 0;
  std::int64_t sites = 0;
  std::int64_t subcomponents = 0;
  std::int64_t component_parameters = 0;

  std::vector<std::string> warnings;  ///< a sentence for each thing that has no counterpart here
};

/// Converts a target checkpoint or a decomposition of the original PyTorch code to the layout of this
/// program, without running anything that the file contains. Which of the two it is, its tensors say.
///
/// A target becomes a directory with model_config.json and model.safetensors (float32). A run becomes a run
/// directory with config.yaml, translated as far as it has counterparts here, imported_config.yaml, which is
/// the original's own, target/, and one checkpoint of weights alone: `vpd evaluate` measures it, and
/// initialize_from goes on from it. The directory appears complete or not at all.
///
/// `observer.status` is told what is read and written. Throws DataError naming file, what was expected, what
/// was found and the cure: for missing, superfluous or misshapen tensors, weights that only Python could
/// make, a configuration under which the weights would mean something else here, a checkpoint in Hugging
/// Face's layout, which needs no import, and an `out` in use; UsageError for options that do not belong
/// together.
ImportSummary import_artefact(const ImportOptions& options, const Observer& observer = {});

/// The summary for people, and as a JSON object.
std::string import_text(const ImportSummary& summary);
std::string import_json(const ImportSummary& summary);

}  // namespace vpd
