#pragma once

#include <filesystem>
#include <string>

#include "vpd/base/observer.hpp"
#include "vpd/config/run.hpp"
#include "vpd/machine/processes.hpp"
#include "vpd/run/decompose.hpp"

namespace vpd {

/// Throws UsageError in a process that was started with another configuration, overrides, --out or --resume
/// than process 0: jobs of a sweep that were meant to be on their own. Devices and threads are each process's
/// affair.
void check_told_alike(const DecomposeOptions& options, Processes& processes);

/// Process 0, which alone reads the configuration, tells the others. Throws ConfigError, naming
/// `config_name`, where the run cannot be divided among them.
void tell_configuration(Processes& processes, const RunConfig& config, const std::string& config_name);

/// And once everything is there that can be wrong: the checkpoint to go on from, or nothing, and the run's
/// directory.
void tell_run(Processes& processes, const std::filesystem::path& checkpoint,
              const std::filesystem::path& run);

/// The run as a process lives through it that writes nothing: it hears the above, computes its rows, and
/// waits while process 0 measures or writes. Returns the run's directory.
std::filesystem::path run_as_worker(const DecomposeOptions& options, const Observer& observer,
                                    Processes& processes);

}  // namespace vpd
