#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// Names of a checkpoint's other two files, beside those of save_weights().
inline constexpr const char* training_state_file = "training_state.safetensors";
inline constexpr const char* checkpoint_state_file = "state.json";

/// Where a run stands, and what its last bits depend on.
struct Progress {
  std::int64_t step = 0;           ///< steps made
  std::int64_t data_position = 0;  ///< rows used, counted from the start of training
  int processes = 1;
  int lanes = 1;  ///< of each process
  int threads_per_lane = 1;
};

/// Writes decomposition.safetensors, causal_importance.safetensors, training_state.safetensors and
/// state.json, which holds `progress` and the hashes of the three, as one directory that is complete or
/// absent. Waits for the device. Of several processes the one that writes calls it, and the others call
/// step.state(): what is written does not depend on their number. Throws DataError. Returns a sentence for
/// each thing that went wrong once the checkpoint was whole (RunDirectory::publish_checkpoint).
std::vector<std::string> save_checkpoint(const RunDirectory& run, const Decomposition& decomposition,
                                         const TrainingStep& step, const Progress& progress,
                                         std::int64_t keep);

/// Compares the files (of any number of processes) with their hashes and takes everything from them. Throws
/// DataError naming the file.
Progress load_checkpoint(const std::filesystem::path& checkpoint, Decomposition& decomposition,
                         TrainingStep& step);

}  // namespace vpd
