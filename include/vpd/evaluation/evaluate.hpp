#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/evaluation/gatherer.hpp"
#include "vpd/io/dataset.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

/// Throws ConfigError, naming `config_name` (the file), for a metric of the configuration that this
/// decomposition cannot be measured with, such as cross-entropy on a target that is no language model.
void check_metrics(const Decomposition& decomposition, const RunConfig& config,
                   const std::string& config_name);

/// Which of the configuration's metrics to measure; empty: all.
using MetricChoice = std::function<bool(const MetricConfig&)>;
/// Those that are not marked slow.
bool is_fast(const MetricConfig& metric);

/// What an evaluation reads: rows, and those of the background, where there is one.
struct EvaluationData {
  EvaluationData(const Dataset& eval, const Dataset* of_background = nullptr)  // NOLINT: rows are that
      : rows(eval), background(of_background) {}
  const Dataset& rows;
  const Dataset* background;
};

/// Measures the configuration's metrics on the first `evaluation.batches` batches of rows (fewer where
/// there are fewer); of the background's rows, likewise, those of `losses` that are taken of them and
/// `ci_l0`, as `background/l0/…`. `step` sets the values of schedules in `losses`. Only metrics that are
/// `wanted` are measured, and give what they give among all. Random draws are the same in every evaluation of
/// a seed, so that figures of different checkpoints compare. A figure that depends on draws or on an attack
/// is followed by `<name>/batches`, the number of batches (or attacks) that it is the mean of, and
/// `<name>/std`, their standard deviation, where there are two or more. `arrays` receives what those of the
/// metrics that have any give. `stop` is asked before every pass over a batch: once it is true, Interrupted
/// is thrown. `status` is told of each batch.
MetricValues evaluate(const Decomposition& decomposition, const RunConfig& config, const EvaluationData& data,
                      std::int64_t step, const MetricChoice& wanted, Lanes& lanes,
                      MetricArrays* arrays = nullptr, const std::function<bool()>& stop = {},
                      const std::function<void(const std::string&)>& status = {});

/// What the attacks among the wanted metrics may spend, by the metric's name: "20 × 0.1", steps × step size,
/// of `pgd/<name>` and, where `losses` is measured, of the `loss/<term>` that are attacks.
std::map<std::string, std::string> attack_budgets(const RunConfig& config, const MetricChoice& wanted = {});

}  // namespace vpd
