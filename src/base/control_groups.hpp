#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

// The control groups (Linux cgroups, both versions, also side by side) that this process is in, as seen
// through the mounts that it has.

namespace vpd {

/// What one group sets and counts; nothing where it sets no limit.
struct ControlGroup {
  std::optional<std::int64_t> memory;     ///< bytes that all its processes may hold together
  std::int64_t memory_used = 0;           ///< without page cache that can be dropped at once
  std::optional<double> cores;            ///< CPU time a second
  std::optional<std::int64_t> processes;  ///< and threads, which count alike
  std::int64_t processes_there = 0;
};

/// The groups of this process and all groups around them, up to the roots of the mounts. `root` takes the
/// place of "/".
std::vector<ControlGroup> control_groups(const std::filesystem::path& root);

}  // namespace vpd
