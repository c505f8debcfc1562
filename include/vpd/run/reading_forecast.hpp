#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vpd {

/// What a command that sums over data would take, from its first batches.
struct ReadingForecast {
  std::int64_t positions = 0, rows = 0, row_length = 0, batch_rows = 0;
  double seconds = 0.0;           ///< of all batches, as long as the second (of one alone, the first)
  std::int64_t memory_bytes = 0;  ///< of the process so far, or on CUDA of the device
  std::string device;
  std::vector<std::string> warnings;
};
std::string forecast_text(const ReadingForecast& forecast);
std::string forecast_json(const ReadingForecast& forecast);

}  // namespace vpd
