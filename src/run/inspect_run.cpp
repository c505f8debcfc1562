#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "inspect_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using config::Value;

/// A map of numbers as a table of two columns.
void add_numbers(Findings& findings, const Value& map) {
  std::size_t widest = 0;
  std::vector<std::pair<std::string, std::string>> rows;
  for (const config::Entry& entry : *map.map()) {
    rows.emplace_back(printable(entry.key), printable(config::to_yaml_line(entry.value)));
    widest = std::max(widest, rows.back().first.size());
  }
  for (const auto& [name, value] : rows) findings.text += fmt::format("  {:<{}}  {}\n", name, widest, value);
}

std::optional<std::int64_t> add_config(Findings& findings, const RunDirectory& run) {
  std::optional<std::int64_t> steps;
  list_or_warn(findings, [&] {
    const RunConfig config = load_run_config(run.config_path(), {}, config::Files::may_be_missing);
    findings.text += to_yaml(config) + "\n";
    findings.data.map()->push_back(
        {"config", config::parse_json(to_json(config), run.config_path().string())});
    steps = config.training.steps;
  });
  return steps;
}

/// By the headers alone, since a run may have many and large ones; a checkpoint of its own is read whole.
bool can_be_opened(Findings& findings, const Checkpoint& checkpoint) {
  const std::size_t before = findings.warnings.size();
  list_or_warn(findings, [&] {
    for (const char* name : {components_file, causal_importance_file})
      SafetensorsFile(checkpoint.path / name);
  });
  return findings.warnings.size() == before;
}

void add_checkpoints(Findings& findings, const RunDirectory& run, std::optional<std::int64_t> steps) {
  const std::optional<Checkpoint> latest = run.latest();
  Value::List list;
  for (const Checkpoint& checkpoint : run.checkpoints()) {
    const std::string of =
        steps ? fmt::format("{} of {}", checkpoint.step, *steps) : std::to_string(checkpoint.step);
    const bool opened = can_be_opened(findings, checkpoint);
    findings.text += fmt::format("checkpoint after {} steps{}{}: {}\n", of,
                                 latest && latest->step == checkpoint.step ? ", the latest" : "",
                                 opened ? "" : ", which cannot be read", printable(checkpoint.path.string()));
    list.emplace_back(checkpoint.step);
  }
  if (list.empty()) findings.text += "no checkpoint\n";
  findings.data.map()->push_back({"checkpoints", Value(std::move(list))});
  findings.data.map()->push_back({"latest", latest ? Value(latest->step) : Value()});
}

/// The last line that can be read. One without an end is passed over: a process that was killed, or is at
/// work, leaves half a line behind it.
std::optional<Value> last_metrics(Findings& findings, const fs::path& path) {
  const std::string text = read_text(path);
  bool warned = false;
  for (std::size_t end = text.rfind('\n'); end != std::string::npos;) {
    const std::size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
    const std::size_t begin = before == std::string::npos ? 0 : before + 1;
    const std::string line = text.substr(begin, end - begin);
    end = before;
    if (line.empty()) continue;
    try {
      Value metrics = config::parse_json(line, path.string());
      if (metrics.map()) return metrics;
    } catch (const ConfigError&) {
      // As any other line that is no object of numbers.
    }
    if (!std::exchange(warned, true)) {
      findings.warnings.push_back(fmt::format(
          "{}: expected an object of numbers in the last line, found {}; the last that can be read "
          "is shown",
          path.string(), quote_foreign(line)));
    }
  }
  return std::nullopt;
}

void add_metrics(Findings& findings, const RunDirectory& run) {
  if (!fs::exists(run.metrics_path())) return;
  std::optional<Value> metrics = last_metrics(findings, run.metrics_path());
  if (!metrics) return;
  findings.text += "\nlast logged metrics\n";
  add_numbers(findings, *metrics);
  findings.data.map()->push_back({"last_metrics", std::move(*metrics)});
}

void add_evaluation(Findings& findings, const RunDirectory& run) {
  if (!fs::exists(run.evaluation_path())) return;
  Value evaluation = config::read_file(run.evaluation_path());
  const Value* metrics = evaluation.find("metrics");
  VPD_CHECK(metrics && metrics->map(), DataError, "{}: expected an object with \"metrics\", found {}",
            run.evaluation_path().string(), config::describe_found(evaluation));
  findings.text += "\nlast evaluation\n";
  add_numbers(findings, *metrics);
  findings.data.map()->push_back({"evaluation", std::move(evaluation)});
}

}  // namespace

Findings inspect_run(const fs::path& path, const Observer&) {
  Findings findings{.kind = "run", .title = "a run"};
  const RunDirectory run = RunDirectory::open(path);
  const std::optional<std::int64_t> steps = add_config(findings, run);
  add_checkpoints(findings, run, steps);
  list_or_warn(findings, [&] { add_metrics(findings, run); });
  list_or_warn(findings, [&] { add_evaluation(findings, run); });
  return findings;
}

}  // namespace vpd
