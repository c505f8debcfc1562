#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/evaluation/evaluate.hpp"

namespace vpd {

struct EvaluateOptions {
  std::filesystem::path
      run{};  ///< a run directory; config.yaml and one checkpoint's two weight files are enough
  std::optional<std::int64_t> checkpoint{};  ///< step; without it the latest
  std::vector<std::string>
      metrics{};  ///< types (or names of pgd metrics) to measure; empty: all that the configuration has
  std::vector<std::string> overrides{};  ///< key=value, over the run's configuration
  std::optional<std::string> device{};
  int threads = 0;  ///< of the CPU; 0: as many as this process may use
};

struct EvaluateResult {
  std::int64_t step = 0;
  std::string checkpoint;
  std::vector<std::string> overrides;  ///< of the options
  MetricValues metrics;
  MetricArrays arrays;
  std::map<std::string, std::string> budgets;  ///< of attacks, by the metric's name: "20 × 0.1"
  std::vector<std::string> warnings;
};

/// Evaluates one checkpoint of a run, slow metrics included, and writes evaluation.json into the run
/// directory; of `metrics` alone, it updates their figures there where they are of the same step and
/// overrides. Target, held-out rows and checkpoint have to be what the run knows by their hashes; other rows
/// are measured where an override names them. `observer.status` is told what is read and measured. Throws
/// ConfigError, DataError, and Interrupted.
EvaluateResult evaluate_run(const EvaluateOptions& options, const Observer& observer = {});

/// The result as evaluation.json has it: {"step": ..., "checkpoint": ..., "overrides": [text], "metrics":
/// {name: number}, "budgets": {name: text}, "arrays": {name: [number]}}.
std::string evaluation_json(const EvaluateResult& result);

/// The result for people: the table of masking modes with CE and KL, then every other metric, noisy ones with
/// their spread over batches, attacks with their budget (steps × step size).
std::string evaluation_table(const EvaluateResult& result);

/// The spread of a noisy figure for people, "± 0.003", or nothing where it has none.
std::string spread_text(const std::map<std::string, double>& metrics, const std::string& name);
/// Whether the name is that of a spread or of a number of batches.
bool is_window_name(const std::string& name);

}  // namespace vpd
