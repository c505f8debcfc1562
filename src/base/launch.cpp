#include "vpd/base/launch.hpp"

#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <limits>

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

std::int64_t whole_number(const char* name, const std::string& text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  VPD_CHECK(error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most,
            UsageError, "{}: expected a whole number from {} to {}, found '{}'; {}", name, least, most, text,
            "start the processes through torchrun or srun, or give --alone for one process alone");
  return value;
}

constexpr std::int64_t most_processes = 1 << 20;

/// The variables of one kind of launcher that say how many processes there are.
struct Names {
  const char *rank, *count, *local_rank;
};

void read_numbers(Launch& launch, const Variable& variable, const Names& names) {
  launch.count = static_cast<int>(whole_number(names.count, *variable(names.count), 1, most_processes));
  launch.rank = static_cast<int>(whole_number(names.rank, *variable(names.rank), 0, launch.count - 1));
  launch.local_rank = launch.rank;
  if (const auto local = variable(names.local_rank))
    launch.local_rank = static_cast<int>(whole_number(names.local_rank, *local, 0, launch.count - 1));
}

/// Steps from here on are none that srun started: SLURM numbers so what is around a batch script or an
/// interactive shell.
constexpr std::int64_t first_special_step = 0xfffffff0;

/// FNV-1a, the same on every machine.
std::uint64_t hash(std::string_view text) {
  std::uint64_t value = 14695981039346656037U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return value;
}

/// A port that steps of SLURM on one machine hardly share, below those that systems give to connections.
std::string port_of(std::string_view job) {
  constexpr std::uint64_t first = 20000, end = 32768;
  return std::to_string(first + hash(job) % (end - first));
}

std::optional<std::string> first_set(const Variable& variable, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (auto value = variable(name)) return value;
  }
  return std::nullopt;
}

/// The step of SLURM that started this process. A batch script has a job's variables without those of a step.
struct Step {
  std::string job;  ///< and the step's number
  Names names;
};

std::optional<Step> slurm_step(const Variable& variable) {
  const auto step = variable("SLURM_STEP_ID");
  const char* count = variable("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  if (!step || !variable("SLURM_PROCID") || !variable(count)) return std::nullopt;
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  if (whole_number("SLURM_STEP_ID", *step, 0, most) >= first_special_step) return std::nullopt;
  std::string job;
  if (const auto number = variable("SLURM_JOB_ID")) {
    job = fmt::format("SLURM job {}, step {}", whole_number("SLURM_JOB_ID", *number, 0, most), *step);
  }
  return Step{std::move(job), {"SLURM_PROCID", count, "SLURM_LOCALID"}};
}

}  // namespace

std::string first_of_node_list(std::string_view list) {
  std::string name;
  for (std::size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      name += list[i];
      continue;
    }
    while (++i < list.size() && list[i] != ',' && list[i] != '-' && list[i] != ']') name += list[i];
    while (i < list.size() && list[i] != ']') ++i;
  }
  return name;
}

Launch read_launch(const Variable& variable) {
  Launch launch;
  const bool rank = variable("RANK").has_value(), world = variable("WORLD_SIZE").has_value();
  VPD_CHECK(
      rank == world, UsageError,
      "{}: expected RANK and WORLD_SIZE together, found {} alone; start the processes through torchrun, "
      "or give --alone for one process alone",
      rank ? "RANK" : "WORLD_SIZE", rank ? "RANK" : "WORLD_SIZE");
  const std::optional<Step> step = rank ? std::nullopt : slurm_step(variable);
  if (rank) {
    read_numbers(launch, variable, {"RANK", "WORLD_SIZE", "LOCAL_RANK"});
  } else if (step) {
    read_numbers(launch, variable, step->names);
  }
  if (launch.count == 1) return {};

  std::optional<std::string> address = variable("MASTER_ADDR"), port = variable("MASTER_PORT");
  if (step) {
    launch.job = step->job;
    launch.attempt = variable("SLURM_RESTART_COUNT").value_or("0");
    // Inside a step SLURM_NODELIST is the whole job's.
    if (!address) {
      const auto machines =
          first_set(variable, {"SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"});
      address = first_of_node_list(machines.value_or(""));
    }
    if (!port && !step->job.empty()) port = port_of(step->job);
  } else {
    if (const auto run = variable("TORCHELASTIC_RUN_ID")) launch.job = "torchrun's run " + *run;
    launch.attempt = variable("TORCHELASTIC_RESTART_COUNT").value_or("0");
    launch.launcher_serves = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  }
  VPD_CHECK(
      address && !address->empty(), UsageError,
      "MASTER_ADDR: expected the machine of process 0 beside the number of processes, which is {}, found "
      "nothing; start the processes through torchrun or srun, set MASTER_ADDR and MASTER_PORT, or give "
      "--alone for one process alone",
      launch.count);
  VPD_CHECK(port, UsageError,
            "MASTER_PORT: expected a free port of {} beside MASTER_ADDR, found nothing; start the processes "
            "through torchrun or srun, set MASTER_PORT, or give --alone for one process alone",
            *address);
  launch.address = *address;
  launch.port = static_cast<std::uint16_t>(whole_number("MASTER_PORT", *port, 1, 65535));
  return launch;
}

Launch launch_of_environment() {
  return read_launch([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  });
}

}  // namespace vpd
