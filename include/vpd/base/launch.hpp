#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

// How this process was started among others that train together: by torchrun, by SLURM, or alone.

namespace vpd {

struct Launch {
  int rank = 0;                  ///< number of this process among all
  int count = 1;                 ///< processes, on all machines together
  int local_rank = 0;            ///< number among those of this machine
  std::string address;           ///< machine where process 0 runs
  std::uint16_t port = 0;        ///< where the processes find each other there
  bool launcher_serves = false;  ///< the launcher answers on that port; otherwise process 0 does
  std::string job;  ///< the launcher's name of this start, which no other one has; empty where it has none
  std::string attempt = "0";  ///< how often the launcher started all processes again

  bool operator==(const Launch&) const = default;
};

/// Reads the variables of torchrun (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) or, without
/// these, of a SLURM step (SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID). There MASTER_ADDR is the first
/// machine of SLURM_STEP_NODELIST and MASTER_PORT a number made from SLURM_JOB_ID and SLURM_STEP_ID unless
/// they are set. Without either kind, and so in a batch script that calls the program without srun: one
/// process. `variable` returns what a variable is set to. Throws UsageError naming the variable that is
/// missing or makes no sense.
using Variable = std::function<std::optional<std::string>(const char* name)>;
Launch read_launch(const Variable& variable);

/// The same of this process's environment.
Launch launch_of_environment();

/// The first name of a list such as "node[003-007,12],other": "node003". Empty for an empty list.
std::string first_of_node_list(std::string_view list);

}  // namespace vpd
