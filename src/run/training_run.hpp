#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "run_log.hpp"
#include "status_keeper.hpp"
#include "training_job.hpp"
#include "vpd/io/run_directory.hpp"

namespace vpd {

/// The command that goes on with a run, to paste.
std::string resume_command(const RunDirectory& run);

/// Whether nothing is left to be measured after the last step.
bool has_final_evaluation(const RunDirectory& run, const RunConfig& config);

/// The loop of process 0, with its log, metrics, evaluations and checkpoints.
void train(TrainingJob& job, const RunDirectory& run, std::optional<std::int64_t> resumed_at,
           StatusKeeper& status, RunLog& log);

}  // namespace vpd
