#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"

namespace vpd {

struct PretrainOptions {
  std::filesystem::path config{};
  std::filesystem::path out{};           ///< a new directory, or an empty one
  std::vector<std::string> overrides{};  ///< "training.steps=100"
  std::optional<std::string> device{};   ///< the same as an override of `device`
  int threads = 0;                       ///< of the CPU; 0: as many as it may use
};

struct PretrainSummary {
  std::int64_t steps = 0;            ///< made
  std::optional<double> train_loss;  ///< mean over the last log_every steps or fewer
  std::optional<double> eval_loss;   ///< of the weights that were written
};

/// The job of `vpd pretrain`: makes a random target, trains it, and writes into `out`
///   model_config.json, model.safetensors   the target, float32
///   metrics.jsonl                          what was logged, if anything was trained or evaluated
///   pretrain.json                          the configuration, version, seed, steps and final losses
/// which appears complete or not at all. Throws ConfigError, DataError for tokens that do not fit and for an
/// `out` in use (before any step), NumericalError, and Interrupted, after writing the target as it is then,
/// where `observer.stop` was obeyed.
PretrainSummary pretrain(const PretrainOptions& options, const Observer& observer);

}  // namespace vpd
