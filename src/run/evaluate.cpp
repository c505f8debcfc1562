#include "vpd/run/evaluate.hpp"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/opened_run.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string name_of(const MetricConfig& metric) {
  if (const auto* pgd = std::get_if<PgdMetric>(&metric)) return pgd->name;
  return std::visit([](const auto& kind) { return std::string(kind.kind); }, metric);
}

/// The metrics that were asked for, by type or by a pgd metric's name.
MetricChoice chosen_metrics(const std::vector<MetricConfig>& metrics, const std::vector<std::string>& wanted,
                            const std::string& config_name) {
  if (wanted.empty()) return {};
  std::vector<std::string> known;
  for (const MetricConfig& metric : metrics) {
    known.push_back(name_of(metric));
    if (std::holds_alternative<PgdMetric>(metric)) known.push_back("pgd");
  }
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto close = nearest(name, known);
    throw ConfigError(fmt::format("--metrics: expected metrics of {} ({}), found \"{}\"{}", config_name,
                                  join_words(known), name,
                                  close ? fmt::format("; did you mean \"{}\"?", *close) : ""));
  }
  return [wanted](const MetricConfig& metric) {
    const auto asked = [&](const std::string& name) {
      return std::find(wanted.begin(), wanted.end(), name) != wanted.end();
    };
    return asked(name_of(metric)) || (std::holds_alternative<PgdMetric>(metric) && asked("pgd"));
  };
}

/// What evaluation.json is to hold: after an evaluation of some metrics alone, the others' figures too, where
/// they are of the same step and overrides; nothing where they are not.
std::optional<std::string> evaluation_to_keep(const RunDirectory& run, const EvaluateOptions& options,
                                              const EvaluateResult& result) {
  const std::string text = evaluation_json(result);
  if (options.metrics.empty() || !fs::exists(run.evaluation_path())) return text;
  Json kept = Json::parse(read_text(run.evaluation_path()), nullptr, /*allow_exceptions=*/false);
  const Json now = Json::parse(text);
  for (const char* same : {"step", "overrides"})
    if (!kept.is_object() || kept.value(same, Json()) != now[same]) return std::nullopt;
  for (const char* part : {"metrics", "budgets", "arrays"}) {
    if (!kept[part].is_object()) kept[part] = Json::object();
    kept[part].update(now[part]);
  }
  return json_text(kept, 1) + "\n";
}

/// Writes evaluation.json. A run that may only be read can be measured all the same.
void keep(const RunDirectory& run, const EvaluateOptions& options, EvaluateResult& result) {
  try {
    if (const auto kept = evaluation_to_keep(run, options, result)) {
      write_atomically(run.evaluation_path(), *kept);
    } else {
      result.warnings.push_back(fmt::format(
          "{} stays as it is: these are some of its metrics, of another step or with other overrides",
          run.evaluation_path().string()));
    }
  } catch (const DataError& error) {
    result.warnings.push_back(fmt::format("the figures are kept nowhere but here: {}", error.what()));
  }
}

}  // namespace

EvaluateResult evaluate_run(const EvaluateOptions& options, const Observer& observer) {
  EvaluateResult result;
  MetricChoice wanted;
  const auto check = [&](const RunConfig& config) {
    const std::string config_name = RunDirectory::open(options.run).config_path().string();
    wanted = chosen_metrics(config.evaluation.metrics, options.metrics, config_name);
    VPD_CHECK(!config.evaluation.metrics.empty(), ConfigError,
              "{}: evaluation.metrics is empty: nothing to measure; add one with --set, as in "
              "--set 'evaluation.metrics=[{{type: ce_kl}}, {{type: ci_l0}}]'",
              config_name);
  };
  OpenedRun run(options.run,
                {.checkpoint = options.checkpoint,
                 .overrides = options.overrides,
                 .device = options.device,
                 .threads = options.threads,
                 .check = check},
                observer);
  result.warnings = std::move(run.warnings);
  result.step = run.checkpoint.step;
  check_metrics(run.decomposition, run.config, run.config_name);
  const std::unique_ptr<Dataset> background = run.open_background();
  result.metrics = evaluate(run.decomposition, run.config, {*run.eval, background.get()}, result.step, wanted,
                            *run.lanes, &result.arrays, observer.stop, observer.status);
  result.budgets = attack_budgets(run.config, wanted);
  result.overrides = options.overrides;
  result.checkpoint = fs::relative(run.checkpoint.path, run.directory.path()).string();
  keep(run.directory, options, result);
  return result;
}

std::string evaluation_json(const EvaluateResult& result) {
  nlohmann::ordered_json metrics = nlohmann::ordered_json::object();
  for (const auto& [name, value] : result.metrics) metrics[name] = value;
  nlohmann::ordered_json arrays = nlohmann::ordered_json::object();
  for (const auto& [name, array] : result.arrays) arrays[name] = array;
  const nlohmann::ordered_json document = {{"step", result.step},           {"checkpoint", result.checkpoint},
                                           {"overrides", result.overrides}, {"metrics", metrics},
                                           {"budgets", result.budgets},     {"arrays", arrays}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
