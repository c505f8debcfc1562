#include "vpd/run/check_health.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

RunConfig config_of(const RunDirectory& run) {
  std::error_code ignored;
  VPD_CHECK(fs::exists(run.config_path(), ignored), DataError,
            "{}: expected the directory of a run, which holds config.yaml, found {}", run.path().string(),
            obstacle(run.config_path()).value_or("none"));
  try {
    return load_run_config(run.config_path(), {}, config::Files::may_be_missing);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a file of the run's own, not one that a person is writing
  }
}

/// What `vpd evaluate` measured last, unless the run's own evaluations are newer.
void add_evaluation(MetricsSeries& metrics, const fs::path& path) {
  const Json json = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object() && json.contains("step") && json["step"].is_number_integer() &&
                json.contains("metrics") && json["metrics"].is_object(),
            DataError,
            "{}: expected an object with \"step\" and \"metrics\", found another; run vpd evaluate again",
            path.string());
  const auto step = json["step"].get<std::int64_t>();
  MetricsLog::Values values;
  for (const auto& [name, value] : json["metrics"].items()) {
    const std::vector<MetricPoint>& known = metrics.of("eval/" + name);
    if (value.is_number() && (known.empty() || known.back().step <= step))
      values.emplace_back("eval/" + name, value.get<double>());
  }
  metrics.add(step, values);
}

/// The shapes in the latest checkpoint. They are a small part of what is examined: where they cannot be read
/// a warning stands in their place.
HealthSubject subject_of(const RunConfig& config, const RunDirectory& run,
                         std::vector<std::string>& warnings) {
  std::vector<std::string> sites;
  std::int64_t subcomponents = 0;
  try {
    run.read_latest([&](const Checkpoint& latest) {
      const SafetensorsFile file(latest.path / components_file);
      sites.clear(), subcomponents = 0;
      for (const TensorInfo& tensor : file.tensors()) {
        if (!tensor.name.ends_with(".V") || tensor.shape.size() != 2) continue;
        sites.push_back(tensor.name.substr(0, tensor.name.size() - 2));
        subcomponents += tensor.shape[1];
      }
      std::sort(sites.begin(), sites.end());
    });
  } catch (const DataError& error) {
    warnings.push_back(fmt::format("{}; what needs the checkpoint's shapes is unknown", error.what()));
  }
  return health_subject(config, std::move(sites), subcomponents);
}

}  // namespace

HealthReport check_health(const fs::path& path, const Observer& observer) {
  const RunDirectory run = RunDirectory::open(path);
  const RunConfig config = config_of(run);
  observer.announce("reading " + run.metrics_path().string());
  MetricsSeries metrics;
  if (fs::exists(run.metrics_path())) metrics = read_metrics(run.metrics_path());
  if (fs::exists(run.evaluation_path())) add_evaluation(metrics, run.evaluation_path());
  observer.announce("examining what was logged");
  HealthReport report{.run = path, .made = steps_made(metrics), .steps = config.training.steps};
  report.findings = examine(metrics, subject_of(config, run, report.warnings));
  return report;
}

std::string health_text(const HealthReport& report) {
  std::string text = fmt::format("{}, {} of {} steps\n\n{:<20}{:<10}{}\n", report.run.string(), report.made,
                                 report.steps, "cause", "verdict", "evidence");
  for (const HealthFinding& finding : report.findings) {
    text += fmt::format("{:<20}{:<10}{}\n", finding.cause, name_of(finding.verdict), finding.evidence);
    if (!finding.remedy.empty()) text += fmt::format("{:30}remedy: {}\n", "", finding.remedy);
  }
  return text;
}

std::string health_json(const HealthReport& report) {
  Json findings = Json::array();
  for (const HealthFinding& finding : report.findings) {
    Json numbers = Json::object();
    for (const auto& [name, value] : finding.numbers) numbers[name] = value;
    findings.push_back({{"cause", finding.cause},
                        {"verdict", name_of(finding.verdict)},
                        {"evidence", finding.evidence},
                        {"remedy", finding.remedy},
                        {"numbers", numbers}});
  }
  const Json document = {{"run", report.run.string()},
                         {"made", report.made},
                         {"steps", report.steps},
                         {"findings", findings},
                         {"warnings", report.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
