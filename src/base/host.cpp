#include "vpd/base/host.hpp"

#include <chrono>
#include <cstdlib>
#include <ctime>

#include <unistd.h>

#include "vpd/base/foreign_text.hpp"

namespace vpd {

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
  return to_valid_utf8(name);
}

std::optional<std::string> batch_job() {
  const auto variable = [](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    return value && *value ? std::optional(to_valid_utf8(value)) : std::nullopt;
  };
  if (const auto array = variable("SLURM_ARRAY_JOB_ID")) {
    if (const auto task = variable("SLURM_ARRAY_TASK_ID")) return *array + "_" + *task;
  }
  // SLURM, PBS, LSF, Grid Engine, Flux.
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "FLUX_JOB_ID"}) {
    if (const auto job = variable(name)) return job;
  }
  return std::nullopt;
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace vpd
