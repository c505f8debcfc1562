#pragma once

#include <optional>
#include <string>

// Where this program runs, for the records of a run.

namespace vpd {

/// The machine's name, as `hostname` prints it.
std::string host_name();

/// The time now, "2026-01-31T12:00:00Z".
std::string utc_now();

/// The job of a batch system that this program belongs to, as its users call it: "4711", "4711_3" for a task
/// of a SLURM array. Nothing outside of one.
std::optional<std::string> batch_job();

}  // namespace vpd
