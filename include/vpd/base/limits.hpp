#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "vpd/base/launch.hpp"

// What this process may use of the machine: the least of what there is and of what it was given by control
// groups (a container's limits), by limits on processes (ulimit), by SLURM and by OMP_NUM_THREADS.

namespace vpd {

/// Where limits are looked up: /proc and /sys below `root`, and variables of the environment. Tests make up
/// both.
struct Surroundings {
  std::filesystem::path root = "/";
  Variable variable{};  ///< empty: this process's environment
};

struct MemoryLimit {
  std::int64_t bytes = 0;  ///< that this process may hold in all, with what it holds already
  std::string giver;       ///< ends a sentence that begins with the bytes: "that the control group leaves"
};

/// The least of what Linux calls available, what every control group around this process leaves (page cache
/// that can be dropped at once counts as left), RLIMIT_AS, RLIMIT_DATA, and a SLURM job's memory.
MemoryLimit usable_memory(const Surroundings& surroundings = {});

struct CoreLimit {
  int count = 1;
  std::string giver;  ///< "the CPU quota of the control group"
};

/// The least of the cores that this process may run on, the CPU quotas of the control groups around it
/// (rounded up), SLURM_CPUS_PER_TASK and OMP_NUM_THREADS; and where control groups bound the number of
/// processes, what they leave.
CoreLimit usable_cores(const Surroundings& surroundings = {});

/// Why `wanted` threads are not started, as a sentence with the cure; nothing where they may be. More threads
/// than cores are slow and no more than that, and a run repeats bit for bit only with as many as before, so
/// the bound is far above the cores.
std::optional<std::string> too_many_threads(std::int64_t wanted, const Surroundings& surroundings = {});

/// The number after `key` in a file of lines "key:   123 kB", in bytes.
std::optional<std::int64_t> kilobytes(const std::filesystem::path& file, const std::string& key);

}  // namespace vpd
