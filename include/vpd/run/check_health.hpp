#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "vpd/run/health.hpp"

namespace vpd {

struct HealthReport {
  std::filesystem::path run;
  std::int64_t made = 0;   ///< steps that the metrics tell of
  std::int64_t steps = 0;  ///< planned
  std::vector<HealthFinding> findings;
};

/// Examines a run by its config.yaml, metrics.jsonl and evaluation.json, and by the shapes in its latest
/// checkpoint. A file that is not there leaves what hangs on it unknown, save config.yaml. Throws DataError
/// where one cannot be read.
HealthReport check_health(const std::filesystem::path& run);

/// A table for people: cause, verdict, evidence, and the remedy below a warning.
std::string health_text(const HealthReport& report);

/// {"run": ..., "made": ..., "steps": ..., "findings": [{"cause", "verdict", "evidence", "remedy", "numbers":
/// {name: number}}]}.
std::string health_json(const HealthReport& report);

}  // namespace vpd
