#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "foreign_state.hpp"
#include "vpd/import/import.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/target/checkpoint.hpp"

namespace vpd {

/// A checkpoint of the original code, and the step that its name says: model_10.pth, model_step_100.pt.
struct CheckpointFile {
  std::filesystem::path path;
  std::optional<std::int64_t> step;
};

/// `path` itself where it is a file, else the checkpoint of the wanted step, or of the last, in that
/// directory or its folder "checkpoints". Throws DataError where there is none.
CheckpointFile find_checkpoint(const std::filesystem::path& path, std::optional<std::int64_t> step);

/// The directory of a checkpoint and the one above, where its configuration may lie.
std::vector<std::filesystem::path> directories_of(const CheckpointFile& checkpoint);

/// The name of the embedding, or of the head where a file keeps of the two, which are tied, the head alone.
std::optional<std::string> embedding_of(const ForeignState& state, const std::string& prefix);

/// The weights of a LlamaSimpleMLP whose tensors begin with `prefix`, under their names here; a head that is
/// equal to the embedding is left out. `warnings` receives a sentence for each tensor that is no weight.
NamedTensors take_target(ForeignState& state, const std::string& prefix, const LlamaSimpleMlpConfig& model,
                         std::vector<std::string>& warnings);

/// What became of the files of a result, for provenance.json: name and SHA-256 of what was read.
void write_import_provenance(const std::filesystem::path& path, const ImportOptions& options,
                             const std::vector<std::filesystem::path>& inputs);

void import_target(const ImportOptions& options, const Observer& observer, ForeignState& state,
                   ImportSummary& summary);
void import_run(const ImportOptions& options, const Observer& observer, ForeignState& state,
                ImportSummary& summary);

}  // namespace vpd
