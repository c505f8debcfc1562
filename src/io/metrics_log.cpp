#include "vpd/io/metrics_log.hpp"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

namespace {

using nlohmann::json;

std::int64_t step_of(const std::string& path, std::int64_t line_number, std::string_view line) {
  const json entry = json::parse(line, nullptr, false);
  VPD_CHECK(
      entry.is_object() && entry.contains("step") && entry["step"].is_number_integer(), DataError,
      "{}: expected an object with a \"step\" in line {}, found '{}'; move the file away to start a new one",
      path, line_number, line.substr(0, 60));
  return entry["step"].get<std::int64_t>();
}

std::string json_number(double value) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  if (value == 0 && std::signbit(value))
    return "-0.0";  // readers take "-0" for an integer, which has no such sign
  char text[32];
  const auto [end, error] =
      std::to_chars(std::begin(text), std::end(text), value);  // the shortest that reads back
  return {text, end};
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, std::int64_t keep_through_step) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) {
    const std::string content = read_text(path_);
    std::string kept;
    std::int64_t line_number = 1;
    for (std::size_t begin = 0; begin < content.size(); ++line_number) {
      const std::size_t end = content.find('\n', begin);
      if (end == std::string::npos) break;  // cut off by the end of an earlier run
      const std::string_view line = std::string_view(content).substr(begin, end - begin);
      if (step_of(path_.string(), line_number, line) <= keep_through_step) kept.append(line).append("\n");
      begin = end + 1;
    }
    if (kept != content) write_atomically(path_, kept);
    size_ = kept.size();
  }
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  VPD_CHECK(descriptor_ >= 0, DataError, "{}: cannot open the file to append to it: {}", path_.string(),
            std::generic_category().message(errno));
}

MetricsLog::~MetricsLog() { ::close(descriptor_); }

void MetricsLog::append(std::int64_t step, const Values& values) {
  std::string line = fmt::format("{{\"step\": {}", step);
  for (const auto& [name, value] : values)
    line += fmt::format(", {}: {}", json_text(json(name)), json_number(value));
  line += "}\n";
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(line.size())) {
    size_ += line.size();
    return;
  }
  // A part of a line, which is what fitted on a full disk, would spoil the next one.
  const int error = written < 0 ? errno : ENOSPC;
  std::error_code ignored;
  if (written > 0) std::filesystem::resize_file(path_, size_, ignored);
  throw DataError(fmt::format("{}: cannot append the metrics of step {}: {}; free some space there",
                              path_.string(), step, std::generic_category().message(error)));
}

}  // namespace vpd
