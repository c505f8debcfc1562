#pragma once

#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/kernels/lanes.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// Everything that a decomposition computes with, made from its configuration. Whatever can be wrong there is
/// found here.
struct TrainingJob {
  /// `source` names the configuration in errors; threads as in DecomposeOptions.
  TrainingJob(RunConfig run_config, const std::string& source, int threads);

  RunConfig config;
  std::vector<std::string> warnings;
  Numerics numerics;
  Decomposition decomposition;
  TokenDataset train, eval;
  int threads;
  int threads_per_lane;
  Lanes lanes;
  TrainingStep step;
};

/// The essentials of a run, one line each.
std::vector<std::string> describe(const TrainingJob& job);

}  // namespace vpd
