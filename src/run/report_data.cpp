// What the report's page shows, gathered from a run's files.

#include "report_data.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "json_object.hpp"
#include "report_clusters.hpp"
#include "report_wiring.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/config/load.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/metrics_series.hpp"
#include "vpd/run/check_health.hpp"
#include "vpd/run/status.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t curve_points = 400;

/// Nothing where the file does not exist (yet).
Json json_if_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error) ? json_object(path) : Json();
}

Json run_card(const RunDirectory& run, const RunConfig& config) {
  Json card = {{"name", to_valid_utf8(fs::weakly_canonical(run.path()).filename().string())},
               {"version", version()},
               {"revision", git_revision()},
               {"seed", config.seed},
               {"planned", config.training.steps}};
  card["target"] = std::visit([](const auto& one) { return std::string(one.kind); }, config.target);
  Json terms = Json::array();
  for (const TermConfig& term : config.objective) terms.push_back(label(term));
  card["objective"] = terms;
  card["batch"] = config.training.batch_size;
  if (const auto status = read_status(run.path())) {
    card["state"] = name_of(status->state);
    card["made"] = status->step;
    card["sentence"] = to_valid_utf8(status->sentence);
  }
  const Json provenance = json_if_there(run.provenance_path());
  for (const char* key : {"start_time", "device", "command_line"})
    if (provenance.contains(key)) card[key] = provenance[key];
  return card;
}

/// The results of one kind, by their names: each directory's `file`.
Json results_of(const RunDirectory& run, std::int64_t step, const char* kind, const char* file) {
  Json all = Json::array();
  std::vector<fs::path> places;
  std::error_code error;
  for (fs::directory_iterator i(results_path(run, step) / kind, error), end; !error && i != end;
       i.increment(error))
    if (fs::exists(i->path() / file)) places.push_back(i->path());
  std::sort(places.begin(), places.end());
  for (const fs::path& place : places) {
    Json result = json_if_there(place / file);
    result["name"] = to_valid_utf8(place.filename().string());
    all.push_back(std::move(result));
  }
  return all;
}

/// Leaves the nodes of a graph that one of its readings draws.
void keep_drawn_nodes(Json& graph) {
  const Json others =
      graph.contains("other_reading") ? graph["other_reading"].value("nodes", Json::array()) : Json();
  Json drawn = Json::array(), drawn_others = Json::array();
  for (std::size_t i = 0; i < graph["nodes"].size(); ++i) {
    Json& node = graph["nodes"][i];
    const bool in_other = i < others.size() && others[i].value("shown", false);
    if (!node.value("shown", false) && !in_other) continue;
    drawn.push_back(std::move(node));
    if (i < others.size()) drawn_others.push_back(others[i]);
  }
  graph["nodes"] = std::move(drawn);
  if (graph.contains("other_reading")) graph["other_reading"]["nodes"] = std::move(drawn_others);
  if (graph.contains("beside"))
    for (Json& other : graph["beside"]) keep_drawn_nodes(other);
}

Json health_of(const fs::path& run, std::vector<std::string>& warnings) {
  const HealthReport report = check_health(run);
  warnings.insert(warnings.end(), report.warnings.begin(), report.warnings.end());
  Json findings = Json::array();
  for (const HealthFinding& finding : report.findings)
    findings.push_back({{"cause", finding.cause},
                        {"verdict", name_of(finding.verdict)},
                        {"evidence", finding.evidence},
                        {"remedy", finding.remedy}});
  return findings;
}

}  // namespace

double rounded(double x, int digits) {
  if (x == 0.0 || !std::isfinite(x)) return x;
  const double scale = std::pow(10.0, digits - 1 - static_cast<int>(std::floor(std::log10(std::abs(x)))));
  return std::round(x * scale) / scale;
}

Json curves_of(const fs::path& run, std::size_t points) {
  std::error_code error;
  Json curves = Json::object();
  if (!fs::exists(run / "metrics.jsonl", error)) return curves;
  const MetricsSeries series = read_metrics(run / "metrics.jsonl");
  for (const std::string& name : series.names("")) {
    const std::vector<MetricPoint>& all = series.of(name);
    Json curve = Json::array();
    const std::size_t stride = (all.size() + points - 1) / points;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool last = i + 1 == all.size();
      if ((i % stride == 0 || last) && std::isfinite(all[i].value))
        curve.push_back({all[i].step, rounded(all[i].value, 5)});
    }
    curves[name] = curve;
  }
  return curves;
}

ReportData report_data(const ReportOptions& options, bool all_examples, const Observer& observer) {
  const RunDirectory run = RunDirectory::open(options.run);
  const RunConfig config = load_run_config(run.config_path(), {}, config::Files::may_be_missing);
  const std::string shell = shell_quoted(options.run.string());
  ReportData data;
  observer.announce("reading the run");
  data.meta["run"] = run_card(run, config);
  data.meta["claim"] = claim;
  data.meta["curves"] = curves_of(run.path(), curve_points);
  if (data.meta["curves"].empty())
    data.missing.push_back(fmt::format("curves of training: `vpd decompose --resume {}`", shell));
  data.meta["health"] = health_of(options.run, data.warnings);
  const Json evaluation = json_if_there(run.evaluation_path());
  if (evaluation.contains("metrics")) {
    data.meta["evaluation"] = {{"step", evaluation.value("step", std::int64_t{0})},
                               {"metrics", evaluation["metrics"]},
                               {"budgets", evaluation.value("budgets", Json::object())}};
    if (evaluation.contains("arrays") && evaluation["arrays"].contains("l0_by_position"))
      data.meta["evaluation"]["l0_by_position"] = evaluation["arrays"]["l0_by_position"];
  } else {
    data.missing.push_back(fmt::format("figures on held-out rows: `vpd evaluate {}`", shell));
  }
  std::optional<OpenedEvidence> opened;
  if (options.checkpoint || harvested_step(run, {})) {
    opened.emplace(options.run, options.checkpoint, options.tokenizer);
  } else {
    data.missing.push_back(fmt::format("evidence for subcomponents: `vpd harvest {}`", shell));
  }
  if (opened) {
    observer.announce("reading the harvest");
    add_harvest(*opened, all_examples, data);
    if (!opened->tokenizer)
      data.warnings.push_back(
          "there is no tokenizer.json beside the target or its tokens: tokens are shown by number");
    if (const auto latest = run.latest(); latest && latest->step != opened->checkpoint.step)
      data.warnings.push_back(
          fmt::format("the evidence is of step {}, and the run's last checkpoint of step {}: `vpd harvest "
                      "{}` makes it anew",
                      opened->checkpoint.step, latest->step, shell));
  }
  const std::int64_t step = opened ? opened->checkpoint.step : run.latest() ? run.latest()->step : 0;
  for (const auto& [kind, file] :
       {std::pair("edits", "effect.json"), std::pair("interventions", "intervention.json"),
        std::pair("audits", "report.json"), std::pair("graphs", "graph.json"),
        std::pair("graph_diffs", "diff.json"), std::pair("attributions", "attributions.json"),
        std::pair("explain", "explain.json")}) {
    Json results = results_of(run, step, kind, file);
    for (Json& result : results)
      if (result.contains("nodes")) keep_drawn_nodes(result);
    if (!results.empty()) data.meta[kind] = std::move(results);
  }
  if (Json attention = attention_of(run, step); !attention.empty())
    data.meta["attention"] = std::move(attention);
  if (Json clusters = clusters_of(run, step); !clusters.is_null())
    data.meta["clusters"] = std::move(clusters);
  if (Json found = report_interactions(results_path(run, step)); !found.is_null())
    data.meta["interactions"] = std::move(found);
  if (options.compare) data.meta["compare"] = compare_runs(options, data.warnings, observer);
  data.meta["missing"] = data.missing;
  data.meta["warnings"] = data.warnings;
  return data;
}

}  // namespace vpd
