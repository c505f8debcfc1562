#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/run/observer.hpp"
#include "vpd/target/numerics.hpp"

namespace vpd {

struct HashedFile {
  std::filesystem::path path;
  std::string sha256;
};

/// What provenance.json says beyond what the program knows about itself.
struct Provenance {
  const RunConfig* config = nullptr;
  Numerics numerics;
  int processes = 1, lanes = 1, threads_per_lane = 1;
  std::string command_line;
  std::vector<HashedFile> inputs;  ///< files that the run's numbers depend on
};

/// The configuration's target and shards of tokens.
std::vector<std::filesystem::path> input_files(const RunConfig& config);

/// All that a new run's numbers depend on: the configuration's file, its inputs and its start. Reads every
/// byte, which takes seconds a gigabyte: tells the observer, and throws Interrupted once it says so.
std::vector<HashedFile> hash_inputs(const RunConfig& config, const std::filesystem::path& config_file,
                                    const Observer& observer);

void write_provenance(const std::filesystem::path& path, const Provenance& provenance);

/// Throws DataError naming the first input that is not what it was when the run began, or Interrupted.
/// Without the file there is nothing to compare.
void check_inputs(const std::filesystem::path& path, const std::vector<std::filesystem::path>& inputs,
                  const Observer& observer);

/// One line for each difference that a resumed run may not have: between the configuration that it began with
/// (of provenance.json at `path`, or, without that, `stored`) and `now`.
std::vector<std::string> forbidden_differences(const std::filesystem::path& path, const RunConfig& stored,
                                               const RunConfig& now);

/// The device that the run began on, in words; nothing where that is not known.
std::optional<std::string> recorded_device(const std::filesystem::path& path);

}  // namespace vpd
