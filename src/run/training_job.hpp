#pragma once

#include <memory>
#include <string>
#include <vector>

#include "machine/scoped_thread_count.hpp"
#include "vpd/base/observer.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/processes.hpp"
#include "vpd/training/loop.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// Everything that a decomposition computes with, made from its configuration. Whatever can be wrong there is
/// found here.
struct TrainingJob {
  /// `config_name` names the configuration in errors; threads as in DecomposeOptions; `local_rank` is the
  /// number of this process on its machine. The configuration has to suit the number of processes:
  /// check_division(). Of process 0 every token is checked: `observer` is told, and Interrupted thrown once
  /// it says so.
  TrainingJob(RunConfig run_config, const std::string& config_name, int threads, Processes& processes,
              int local_rank, const Observer& observer);

  ScopedThreadCount threads;
  RunConfig config;
  Processes& processes;
  std::vector<std::string> warnings;
  Numerics numerics;
  Decomposition decomposition;
  std::unique_ptr<Dataset> train, eval;
  std::unique_ptr<Dataset> background;  ///< null: there is none
  TrainingRows rows_to_train_on() const { return {*train, background.get()}; }
  /// The same for evaluations, which take prompts each once.
  std::unique_ptr<Dataset> background_to_evaluate;
  int threads_per_lane;
  Lanes lanes;
  TrainingStep step;
};

/// Throws ConfigError, naming `config_name`, where a run cannot be divided among that many processes.
void check_division(const RunConfig& config, int processes, const std::string& config_name);

/// The essentials of a run, one line each.
std::vector<std::string> describe(const TrainingJob& job);

}  // namespace vpd
