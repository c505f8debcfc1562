#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "vpd/io/metrics_log.hpp"

namespace vpd {

// The numbers of metrics.jsonl as TensorBoard's event file: records with masked CRC-32C checksums, each a
// protocol buffer `Event` with one `Summary.Value` a number. Nothing here is read back by vpd.
class EventLog {
 public:
  // Makes the directory and in it one event file, in place of older ones, with the lines that `metrics` (a
  // metrics.jsonl, which need not exist) has so far. DataError where it cannot be written.
  EventLog(const std::filesystem::path& directory, const std::filesystem::path& metrics);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // One event with all of them; what is not finite is written as it is. DataError.
  void append(std::int64_t step, const MetricsLog::Values& values);

 private:
  void write(const std::string& event);

  std::filesystem::path path_;
  int descriptor_ = -1;
};

// The checksum of a record's length and of its bytes: CRC-32C (Castagnoli), rotated and offset.
std::uint32_t masked_crc32c(const std::string& bytes);

}  // namespace vpd
