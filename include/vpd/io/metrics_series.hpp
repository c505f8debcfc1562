#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "vpd/io/metrics_log.hpp"

namespace vpd {

// One measurement.
struct MetricPoint {
  std::int64_t step = 0;
  double value = 0.0;

  bool operator==(const MetricPoint&) const = default;
};

// Every metric of a run over its steps: what metrics.jsonl holds, by name.
class MetricsSeries {
 public:
  // A step's measurements. One of a step that the metric has already, or of an earlier one, takes the place
  // of what was measured from there on.
  void add(std::int64_t step, const MetricsLog::Values& values);

  // In the order of the steps; empty where the metric was never measured.
  const std::vector<MetricPoint>& of(const std::string& name) const;
  // Names that begin with `prefix`, in alphabetical order.
  std::vector<std::string> names(const std::string& prefix) const;
  bool empty() const { return points_.empty(); }

 private:
  std::map<std::string, std::vector<MetricPoint>> points_;
};

// Reads a metrics.jsonl. A last line that was cut off is passed over. DataError where the file cannot be
// read, or for a line that is no metrics.
MetricsSeries read_metrics(const std::filesystem::path& path);

}  // namespace vpd
