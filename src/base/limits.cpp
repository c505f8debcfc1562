#include "vpd/base/limits.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include <spdlog/fmt/fmt.h>

#include "control_groups.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> variable(const Surroundings& surroundings, const char* name) {
  if (surroundings.variable) return surroundings.variable(name);
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

/// The whole number that a variable begins with: "4", of OMP_NUM_THREADS also "4,2", of SLURM "16(x2)".
std::optional<std::int64_t> number_of(const Surroundings& surroundings, const char* name) {
  const std::string text = variable(surroundings, name).value_or("");
  const std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + begin, text.data() + text.size(), value);
  return error == std::errc{} && value > 0 ? std::optional(value) : std::nullopt;
}

/// The line of a file that begins so, without its beginning.
std::optional<std::string> rest_of_line(const fs::path& path, const std::string& beginning) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(beginning)) return line.substr(beginning.size());
  }
  return std::nullopt;
}

/// The soft limit that /proc/self/limits names so; nothing where it is unlimited.
std::optional<std::int64_t> process_limit(const fs::path& root, const std::string& name) {
  std::istringstream rest(rest_of_line(root / "proc/self/limits", name).value_or(""));
  std::int64_t value = 0;
  return rest >> value ? std::optional(value) : std::nullopt;
}

/// How many numbers a list such as "0-3,8" has.
int numbers_in(const std::string& list) {
  int count = 0;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    int first = 0, last = 0;
    char dash = 0;
    std::istringstream range(part);
    if (!(range >> first)) continue;
    count += range >> dash >> last && dash == '-' ? last - first + 1 : 1;
  }
  return count;
}

/// Cores that the affinity mask names.
int cores_in_mask(const fs::path& root) {
  const auto list = rest_of_line(root / "proc/self/status", "Cpus_allowed_list:");
  const int count = list ? numbers_in(*list) : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, count);
}

/// What SLURM gave the job on this machine, in bytes; it counts in MiB, and 0 is all that the machine has.
std::optional<std::int64_t> memory_of_slurm_job(const Surroundings& surroundings) {
  if (!variable(surroundings, "SLURM_JOB_ID")) return std::nullopt;
  constexpr std::int64_t unit = 1 << 20;
  if (const auto whole = number_of(surroundings, "SLURM_MEM_PER_NODE")) return *whole * unit;
  const auto each = number_of(surroundings, "SLURM_MEM_PER_CPU");
  if (!each) return std::nullopt;
  for (const char* name : {"SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE", "SLURM_CPUS_PER_TASK"}) {
    if (const auto cpus = number_of(surroundings, name)) return *each * *cpus * unit;
  }
  return std::nullopt;
}

/// Threads that the control groups let this process have. A few are kept for others than those that compute:
/// who waits for signals, who writes, and LibTorch's own.
std::int64_t threads_left(const std::vector<ControlGroup>& groups) {
  constexpr std::int64_t kept = 4;
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const ControlGroup& group : groups) {
    if (group.processes) least = std::min(least, *group.processes - group.processes_there - kept);
  }
  return std::max<std::int64_t>(1, least);
}

}  // namespace

std::optional<std::int64_t> kilobytes(const fs::path& file, const std::string& key) {
  std::istringstream rest(rest_of_line(file, key + ":").value_or(""));
  std::int64_t value = 0;
  return rest >> value ? std::optional(1024 * value) : std::nullopt;
}

MemoryLimit usable_memory(const Surroundings& surroundings) {
  const fs::path& root = surroundings.root;
  const fs::path status = root / "proc/self/status";
  const std::int64_t held = kilobytes(status, "VmRSS").value_or(0);
  const auto of_status = [&](const char* key) { return kilobytes(status, key).value_or(held); };

  MemoryLimit least{held + kilobytes(root / "proc/meminfo", "MemAvailable").value_or(0), "available"};
  const auto bound = [&](std::int64_t limit, std::int64_t used, const char* giver) {
    // Part of what this process holds may count elsewhere, as a library's pages do in the group that first
    // read them: with them it never has more than the limit.
    const std::int64_t bytes = std::min(limit, held + std::max<std::int64_t>(0, limit - used));
    if (bytes < least.bytes) least = {bytes, giver};
  };
  for (const ControlGroup& group : control_groups(root)) {
    if (group.memory) bound(*group.memory, group.memory_used, "that the control group leaves");
  }
  if (const auto limit = process_limit(root, "Max address space"))
    bound(*limit, of_status("VmSize"), "that the limit on the address space leaves (ulimit -v)");
  if (const auto limit = process_limit(root, "Max data size"))
    bound(*limit, of_status("VmData"), "that the limit on data leaves (ulimit -d)");
  if (const auto limit = memory_of_slurm_job(surroundings))
    bound(*limit, held, "that the SLURM job was given");
  return least;
}

CoreLimit usable_cores(const Surroundings& surroundings) {
  CoreLimit least{cores_in_mask(surroundings.root), "the cores that this process may run on"};
  const auto bound = [&](std::int64_t count, std::string giver) {
    if (count < least.count) least = {static_cast<int>(count), std::move(giver)};
  };
  const std::vector<ControlGroup> groups = control_groups(surroundings.root);
  for (const ControlGroup& group : groups) {
    if (group.cores) {
      bound(std::max<std::int64_t>(1, std::llround(std::ceil(*group.cores))),
            fmt::format("the control group's CPU quota of {:.3g}", *group.cores));
    }
  }
  if (variable(surroundings, "SLURM_JOB_ID")) {
    if (const auto count = number_of(surroundings, "SLURM_CPUS_PER_TASK"))
      bound(*count, "SLURM_CPUS_PER_TASK");
  }
  if (const auto count = number_of(surroundings, "OMP_NUM_THREADS")) bound(*count, "OMP_NUM_THREADS");
  bound(threads_left(groups), "the control group's limit on processes");
  return least;
}

std::optional<std::string> too_many_threads(std::int64_t wanted, const Surroundings& surroundings) {
  const int cores = cores_in_mask(surroundings.root);
  const std::int64_t sane = std::max(64, 4 * cores), left = threads_left(control_groups(surroundings.root));
  if (wanted <= std::min(sane, left)) return std::nullopt;
  const std::string reason =
      left < sane ? "the control group leaves no more (pids.max)"
                  : fmt::format("this process may run on {} core{}", cores, cores == 1 ? "" : "s");
  return fmt::format("expected at most {} threads, since {}, found {}; as many threads as cores are fastest",
                     std::min(sane, left), reason, wanted);
}

}  // namespace vpd
