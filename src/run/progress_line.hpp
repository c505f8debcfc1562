#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "vpd/io/metrics_log.hpp"

namespace vpd {

/// Where a run stands, in one line for people: step, time left and speed first, because a narrow terminal
/// cuts the rest off.
class ProgressLine {
 public:
  ProgressLine(std::int64_t first_step, std::int64_t steps);

  /// Takes the measurements of a logged step, which lines show until the next.
  void measure(MetricsLog::Values values) { values_ = std::move(values); }

  /// `s`: the step to name; `made`: how many steps are made, which the time left is reckoned from.
  std::string text(std::int64_t s, std::int64_t made) const;

  /// Whether the last status line is old enough for a new one; if so, the next one is due a tenth of a second
  /// later.
  bool refresh();

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t first_step_, steps_;
  MetricsLog::Values values_;
  Clock::time_point began_ = Clock::now(), refreshed_{};
};

}  // namespace vpd
