#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/target/numerics.hpp"

namespace vpd {

/// What provenance.json says beyond what the program knows about itself.
struct Provenance {
  const RunConfig* config = nullptr;
  Numerics numerics;
  int processes = 1, lanes = 1, threads_per_lane = 1;
  std::string command_line;
  std::filesystem::path config_file;
  std::vector<std::filesystem::path>
      inputs;  ///< files that the run's numbers depend on, the configuration apart
};

/// The configuration's target, shards of tokens, and start.
std::vector<std::filesystem::path> input_files(const RunConfig& config);

void write_provenance(const std::filesystem::path& path, const Provenance& provenance);

/// Throws DataError naming the first input that is not what it was when the run began. Without the file there
/// is nothing to compare.
void check_inputs(const std::filesystem::path& path, const std::vector<std::filesystem::path>& inputs);

/// One line for each difference that a resumed run may not have: between the configuration that it began with
/// (of provenance.json at `path`, or, without that, `stored`) and `now`.
std::vector<std::string> forbidden_differences(const std::filesystem::path& path, const RunConfig& stored,
                                               const RunConfig& now);

/// The device that the run began on, in words; nothing where that is not known.
std::optional<std::string> recorded_device(const std::filesystem::path& path);

}  // namespace vpd
