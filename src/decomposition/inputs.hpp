#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/config/run.hpp"

// The files that a run's numbers depend on, and whether they are still what they were.

namespace vpd {

/// What one key of the configuration reads, in the order in which it is read.
struct InputRole {
  std::string name;  ///< "target", "data.train", "data.eval", "initialize_from"
  std::vector<std::filesystem::path> files;
};

/// All roles that the configuration has.
std::vector<InputRole> input_roles(const RunConfig& config);
/// A target's files: descriptions and weights.
InputRole target_role(const TargetConfig& target);

/// A path as it stands in provenance.json, which is UTF-8: two paths are compared as they are there.
std::string name_in_json(const std::filesystem::path& path);

struct HashedFile {
  std::filesystem::path path;
  std::string sha256;
};
struct HashedRole {
  std::string name;
  std::vector<HashedFile> files;
};

/// Reads every byte that is not known from before (io/known_files.hpp), which takes seconds a gigabyte: says
/// so, and throws Interrupted once the observer asks for a stop.
std::vector<HashedRole> hash_inputs(const std::vector<InputRole>& roles, const Observer& observer);

/// Throws DataError naming the first file of the roles that is not what provenance.json at `path` says that
/// the run began with, wherever it lies now; or Interrupted. A provenance.json that knows no inputs, or none
/// at all, leaves nothing to compare.
void verify_inputs(const std::filesystem::path& path, const std::vector<InputRole>& roles,
                   const Observer& observer);

/// Whether verify_inputs() can compare anything.
bool knows_inputs(const std::filesystem::path& provenance);

}  // namespace vpd
