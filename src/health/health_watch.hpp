#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "vpd/health/health.hpp"

namespace vpd {

/// Examines a run while it goes on and says what is wrong, each cause once in a while.
class HealthWatch {
 public:
  /// `metrics`: what a resumed run has measured before.
  HealthWatch(HealthSubject subject, MetricsSeries metrics);

  /// Takes the measurements of a logged step or of an evaluation, and returns a sentence for each warning
  /// that was not given lately.
  std::vector<std::string> take(std::int64_t step, const MetricsLog::Values& values);

 private:
  bool due(std::int64_t made) const;

  HealthSubject subject_;
  MetricsSeries metrics_;
  std::int64_t examined_ = 0;                 // steps made then
  std::map<std::string, std::int64_t> said_;  // by cause: steps made then
};

}  // namespace vpd
