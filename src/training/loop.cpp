#include "vpd/training/loop.hpp"

#include <chrono>
#include <cmath>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/target/target.hpp"

namespace vpd {
namespace {

using Clock = std::chrono::steady_clock;

bool due(std::int64_t s, std::optional<std::int64_t> every) { return every && s > 0 && s % *every == 0; }

/// Returns whether it came to its end.
bool warm_up(TrainingStep& step, const RunConfig& config, const LoopHooks& hooks) {
  const std::int64_t steps = config.training.faithfulness_warmup.steps;
  for (std::int64_t i = 0; i < steps; ++i) {
    if (hooks.stop && hooks.stop()) return false;
    const at::Tensor loss = step.warm_up();
    std::optional<double> value;
    if (i % config.output.log_every == 0 || i + 1 == steps) {
      value = loss.item<double>();
      VPD_CHECK(std::isfinite(*value), NumericalError,
                "step {} of the faithfulness warm-up: the loss is NaN or infinite; lower "
                "training.faithfulness_warmup.learning_rate",
                i);
    }
    if (hooks.warm_up) hooks.warm_up(i + 1, value);
  }
  return true;
}

MetricsLog::Values measured(const StepResult& result, double seconds, std::int64_t tokens,
                            const at::Device& device) {
  MetricsLog::Values values;
  values.emplace_back("train/loss/total", result.total.item<double>());
  for (std::size_t k = 0; k < result.losses.size(); ++k) {
    if (!result.losses[k].defined()) continue;  // it slept
    values.emplace_back("train/loss/" + result.labels[k], result.losses[k].item<double>());
  }
  values.emplace_back("train/grad_norm/components", result.components_norm.item<double>());
  values.emplace_back("train/grad_norm/causal_importance", result.causal_importance_norm.item<double>());
  values.emplace_back("train/l0", result.l0.item<double>());
  if (result.background_l0.defined())
    values.emplace_back("train/background_l0", result.background_l0.item<double>());
  for (std::size_t k = 0; k < result.saturated_sources.size(); ++k) {
    const at::Tensor& part = result.saturated_sources[k];
    if (part.defined())
      values.emplace_back("train/saturated_sources/" + result.labels[k], part.item<double>());
  }
  values.emplace_back("perf/step_ms", 1e3 * seconds);
  values.emplace_back("perf/tokens_per_s", static_cast<double>(tokens) / seconds);
  values.emplace_back("perf/peak_memory_bytes", static_cast<double>(peak_memory_bytes(device)));
  return values;
}

}  // namespace

LoopEnd run_loop(TrainingStep& step, const RunConfig& config, const TrainingRows& data,
                 const at::Device& device, std::optional<std::int64_t> resumed_at, const LoopHooks& hooks) {
  const std::int64_t steps = config.training.steps, B = config.training.batch_size;
  const std::int64_t background = config.background_rows();
  const Range rows = step.rows();
  const auto batch_of_background = [&](std::int64_t s) {
    if (background == 0) return at::Tensor();
    const Range own = step.rows(TermRows::background);
    return data.background->batch(s * background + own.begin, own.size());
  };
  if (!resumed_at && !warm_up(step, config, hooks)) return LoopEnd::stopped_in_warm_up;

  // Time per step is the mean since the last logged one, without evaluations and checkpoints: the clock
  // starts again after them, and before them check() waits for the device.
  StepResult result;
  std::chrono::duration<double> spent{0};
  Clock::time_point since = Clock::now();
  std::int64_t timed = 0, tokens = 0;
  const auto settle = [&](std::int64_t s) {
    if (result.total.defined()) step.check(result, s - 1);
    spent += Clock::now() - since;
  };

  for (std::int64_t s = resumed_at.value_or(0);; ++s) {
    const bool stop = s < steps && hooks.stop && hooks.stop();
    const bool save = s != resumed_at && (s == steps || stop || due(s, config.output.checkpoint_every));
    const bool last = s == steps && s > 0 && config.evaluation.final && !config.evaluation.metrics.empty();
    const bool evaluate = !stop && (last || due(s, config.evaluation.every));
    // Slow metrics have a pace of their own: a run that is too short for one of their turns ends without
    // them.
    const bool slow = due(s, config.evaluation.slow_every) ||
                      (last && config.evaluation.slow_every && *config.evaluation.slow_every <= steps);
    if (save || evaluate) {
      settle(s);
      if (save && hooks.checkpoint) hooks.checkpoint(s);
      if (evaluate && hooks.evaluate) {
        step.forget_batch();
        if (!hooks.evaluate(s, slow)) {
          if (!save && hooks.checkpoint) hooks.checkpoint(s);
          return LoopEnd::stopped;
        }
      }
      since = Clock::now();
    }
    if (stop) return LoopEnd::stopped;
    if (s == steps) return LoopEnd::finished;

    const bool log = s % config.output.log_every == 0 || s + 1 == steps;
    const at::Tensor batch = data.rows.batch(s * B + rows.begin, rows.size()), more = batch_of_background(s);
    tokens += B * length_of(batch) + (more.defined() ? background * length_of(more) : 0);
    result = step.run(batch, s, /*want_l0=*/log, more);
    ++timed;
    if (log) {
      settle(s + 1);
      const double seconds = spent.count() / static_cast<double>(timed);
      if (hooks.log) hooks.log(s, measured(result, seconds, tokens / timed, device));
      spent = {}, timed = 0, tokens = 0, since = Clock::now();
    }
    if (hooks.stepped) hooks.stepped(s + 1);
  }
}

}  // namespace vpd
