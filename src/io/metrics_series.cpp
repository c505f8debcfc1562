#include "vpd/io/metrics_series.hpp"

#include <limits>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using nlohmann::json;

// A number, or one of the words that stand for what JSON has no number for.
std::optional<double> number_of(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace

void MetricsSeries::add(std::int64_t step, const MetricsLog::Values& values) {
  for (const auto& [name, value] : values) {
    std::vector<MetricPoint>& points = points_[name];
    while (!points.empty() && points.back().step >= step) points.pop_back();
    points.push_back({step, value});
  }
}

const std::vector<MetricPoint>& MetricsSeries::of(const std::string& name) const {
  static const std::vector<MetricPoint> none;
  const auto found = points_.find(name);
  return found == points_.end() ? none : found->second;
}

std::vector<std::string> MetricsSeries::names(const std::string& prefix) const {
  std::vector<std::string> names;
  for (auto i = points_.lower_bound(prefix); i != points_.end() && i->first.starts_with(prefix); ++i)
    names.push_back(i->first);
  return names;
}

MetricsSeries read_metrics(const std::filesystem::path& path) {
  const std::string content = read_text(path);
  MetricsSeries series;
  std::int64_t line_number = 1;
  for (std::size_t begin = 0; begin < content.size(); ++line_number) {
    const std::size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;  // being written, or cut off by a kill
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    begin = end + 1;
    const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
    VPD_CHECK(entry.is_object() && entry.contains("step") && entry["step"].is_number_integer(), DataError,
              "{}: expected an object with a \"step\" in line {}, found '{}'", path.string(), line_number,
              line.substr(0, 60));
    MetricsLog::Values values;
    for (const auto& [name, value] : entry.items()) {
      if (name == "step") continue;
      const std::optional<double> number = number_of(value);
      VPD_CHECK(number, DataError, "{}: expected a number under \"{}\" in line {}, found {}", path.string(),
                name, line_number, json_text(value));
      values.emplace_back(name, *number);
    }
    series.add(entry["step"].get<std::int64_t>(), values);
  }
  return series;
}

}  // namespace vpd
