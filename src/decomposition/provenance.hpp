#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "inputs.hpp"
#include "vpd/config/run.hpp"
#include "vpd/machine/numerics.hpp"

namespace vpd {

/// What provenance.json says beyond what the program knows about itself.
struct Provenance {
  const RunConfig* config = nullptr;
  Numerics numerics;
  int processes = 1, lanes = 1, threads_per_lane = 1;
  std::string command_line;
  HashedFile config_file;
  std::vector<HashedRole> inputs;  ///< files that the run's numbers depend on
};

void write_provenance(const std::filesystem::path& path, const Provenance& provenance);

/// The file as it is; null where there is none. Throws DataError where it is no JSON object.
nlohmann::ordered_json read_provenance(const std::filesystem::path& path);

/// One line for each difference that a resumed run may not have: between the configuration that it began with
/// (of provenance.json at `path`, or, without that, `stored`) and `now`. Where inputs lie is none, as long as
/// their hashes are known: verify_inputs() compares those.
std::vector<std::string> forbidden_differences(const std::filesystem::path& path, const RunConfig& stored,
                                               const RunConfig& now);

/// The device that the run began on, in words; nothing where that is not known.
std::optional<std::string> recorded_device(const std::filesystem::path& path);

}  // namespace vpd
