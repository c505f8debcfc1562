#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "vpd/config/run.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/io/metrics_log.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// What the loop tells its owner and asks of it; each may be empty. "After s steps" is the state in which
/// step number s, counted from 0, finds everything: a checkpoint, an evaluation and the measurements of a
/// step that carry the same number speak of the same parameters.
struct LoopHooks {
  std::function<bool()> stop;  ///< asked between steps
  std::function<void(std::int64_t made, std::optional<double> loss)>
      warm_up;                                     ///< loss: before that update, at logged ones
  std::function<void(std::int64_t made)> stepped;  ///< on CUDA the device may still be at work on them
  /// Step number s, where s is a multiple of output.log_every or the last: train/… and perf/… of
  /// docs/formats.md.
  std::function<void(std::int64_t s, const MetricsLog::Values&)> log;
  /// After s steps, every evaluation.every of them, and after the last with evaluation.final; false: a stop
  /// cut it short, and a resumed run makes it.
  std::function<bool(std::int64_t s, bool slow)> evaluate;
  std::function<void(std::int64_t s)> checkpoint;  ///< after s steps
};

enum class LoopEnd { finished, stopped, stopped_in_warm_up };

/// Rows to train on, and those of the background, where the configuration has one.
struct TrainingRows {
  TrainingRows(const Dataset& train, const Dataset* of_background = nullptr)  // NOLINT: rows are that
      : rows(train), background(of_background) {}
  const Dataset& rows;
  const Dataset* background;
};

/// The training loop (method, section 7). `resumed_at`: steps made by the checkpoint that `step` was loaded
/// from; nothing: a fresh start, which the faithfulness warm-up comes before. A stop that is asked for takes
/// a checkpoint, except in the warm-up, where there is nothing to resume from yet. A resumed run makes the
/// very calls of `log` and `evaluate` that an uninterrupted one would make from there on. Throws
/// NumericalError.
LoopEnd run_loop(TrainingStep& step, const RunConfig& config, const TrainingRows& data,
                 const at::Device& device, std::optional<std::int64_t> resumed_at, const LoopHooks& hooks);

}  // namespace vpd
