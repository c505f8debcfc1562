#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace vpd {

// metrics.jsonl of a run: one JSON object a line, {"step": 200, "train/loss/total": 0.25, …}, only ever
// appended to. A line is one write to the system, so that who reads along, or a killed run, sees whole lines.
class MetricsLog {
 public:
  using Values = std::vector<std::pair<std::string, double>>;

  // Opens or makes the file, and first drops the lines of steps beyond `keep_through_step` and a last line
  // that was cut off: a run resumed at that step writes them again. -1 drops every line. DataError for a line
  // that is no metrics.
  MetricsLog(std::filesystem::path path, std::int64_t keep_through_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // Numbers read back as the very same doubles. What is not finite, for which JSON has no number, is the
  // string "nan", "inf" or "-inf".
  void append(std::int64_t step, const Values& values);

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uintmax_t size_ = 0;  // of the whole lines
};

}  // namespace vpd
