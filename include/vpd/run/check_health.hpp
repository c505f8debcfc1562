#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/health/health.hpp"

namespace vpd {

struct HealthReport {
  std::filesystem::path run;
  std::int64_t made = 0;   ///< steps that the metrics tell of
  std::int64_t steps = 0;  ///< planned
  std::vector<HealthFinding> findings;
  std::vector<std::string> warnings;  ///< what could not be read, and what it leaves unknown
};

/// Examines a run by its config.yaml, metrics.jsonl and evaluation.json, and by the shapes in its latest
/// checkpoint. A file that is not there leaves what hangs on it unknown, save config.yaml, and so does a
/// checkpoint that cannot be read, with a warning. Throws DataError
/// where one cannot be read. `observer.status` is told what is read.
HealthReport check_health(const std::filesystem::path& run, const Observer& observer = {});

/// A table for people: cause, verdict, evidence, and the remedy below a warning.
std::string health_text(const HealthReport& report);

/// {"run": ..., "made": ..., "steps": ..., "findings": [{"cause", "verdict", "evidence", "remedy", "numbers":
/// {name: number}}], "warnings": [text]}.
std::string health_json(const HealthReport& report);

}  // namespace vpd
