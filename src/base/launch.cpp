#include <charconv>
#include <cstdlib>
#include <limits>

#include <vpd/base/error.hpp>
#include <vpd/base/launch.hpp>

namespace vpd {
namespace {

std::int64_t whole_number(const char* name, const std::string& text, std::int64_t least, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  VPD_CHECK(error == std::errc{} && end == text.data() + text.size() && value >= least && value <= most,
            UsageError, "{}: expected a whole number from {} to {}, found '{}'; {}", name, least, most, text,
            "start the processes through torchrun or srun, or unset the variable for one process alone");
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

/// A port that two steps of SLURM on one machine hardly share.
std::string port_of_step(const std::string& job, const std::string& step) {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  const std::int64_t number =
      64 * whole_number("SLURM_JOB_ID", job, 0, most) + whole_number("SLURM_STEP_ID", step, 0, most);
  return std::to_string(20000 + number % 10000);
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
      "or unset it for one process alone",
      rank ? "RANK" : "WORLD_SIZE", rank ? "RANK" : "WORLD_SIZE");
  const bool slurm = !rank && variable("SLURM_PROCID") && variable("SLURM_NTASKS");
  if (rank) {
    read_numbers(launch, variable, {"RANK", "WORLD_SIZE", "LOCAL_RANK"});
  } else if (slurm) {
    read_numbers(launch, variable, {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"});
  }
  if (launch.count == 1) return {};

  std::optional<std::string> address = variable("MASTER_ADDR"), port = variable("MASTER_PORT");
  if (slurm && !address) address = first_of_node_list(variable("SLURM_NODELIST").value_or(""));
  if (slurm && !port) {
    if (const auto job = variable("SLURM_JOB_ID"))
      port = port_of_step(*job, variable("SLURM_STEP_ID").value_or("0"));
  }
  VPD_CHECK(
      address && !address->empty(), UsageError,
      "MASTER_ADDR: expected the machine of process 0 beside the number of processes, which is {}, found "
      "nothing; start the processes through torchrun or srun, or set MASTER_ADDR and MASTER_PORT",
      launch.count);
  VPD_CHECK(port, UsageError,
            "MASTER_PORT: expected a free port of {} beside MASTER_ADDR, found nothing; start the processes "
            "through torchrun or srun, or set MASTER_PORT",
            *address);
  launch.address = *address;
  launch.port = static_cast<std::uint16_t>(whole_number("MASTER_PORT", *port, 1, 65535));
  launch.launcher_serves = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.attempt = variable("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return launch;
}

Launch launch_of_environment() {
  return read_launch([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  });
}

}  // namespace vpd
