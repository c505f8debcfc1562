#include "vpd/run/evaluate.hpp"

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>

#include "inputs.hpp"
#include "machine/thread_number.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/data.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

std::string name_of(const MetricConfig& metric) {
  if (const auto* pgd = std::get_if<PgdMetric>(&metric)) return pgd->name;
  return std::visit([](const auto& kind) { return std::string(kind.kind); }, metric);
}

/// The metrics that were asked for, by type or by a pgd metric's name.
MetricChoice chosen_metrics(const std::vector<MetricConfig>& metrics, const std::vector<std::string>& wanted,
                            const std::string& source) {
  if (wanted.empty()) return {};
  std::vector<std::string> known;
  for (const MetricConfig& metric : metrics) {
    known.push_back(name_of(metric));
    if (std::holds_alternative<PgdMetric>(metric)) known.push_back("pgd");
  }
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto close = nearest(name, known);
    throw ConfigError(fmt::format("--metrics: expected metrics of {} ({}), found \"{}\"{}", source,
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

[[noreturn]] void refuse_without_checkpoint(const RunDirectory& run) {
  throw DataError(fmt::format(
      "{}: expected a complete checkpoint under checkpoints/, found none: run `vpd decompose --resume "
      "{}` first",
      run.path().string(), shell_quoted(run.path().string())));
}

/// Loads the weights of a checkpoint, the latest unless `step` says another.
Checkpoint load_chosen(const RunDirectory& run, std::optional<std::int64_t> step,
                       Decomposition& decomposition) {
  Checkpoint chosen;
  const auto load = [&](const Checkpoint& checkpoint) {
    verify_checkpoint(checkpoint.path);
    load_weights(decomposition, checkpoint.path);
    chosen = checkpoint;
  };
  if (step) {
    load(run.checkpoint(*step));
  } else if (!run.read_latest(load)) {
    refuse_without_checkpoint(run);
  }
  return chosen;
}

/// Whether one of the overrides speaks of that part of the configuration.
bool is_overridden(const std::vector<std::string>& overrides, std::string_view part) {
  return std::any_of(overrides.begin(), overrides.end(), [&](const std::string& text) {
    const std::string_view key = std::string_view(text).substr(0, text.find('='));
    return key == part || key.starts_with(std::string(part) + ".") ||
           part.starts_with(std::string(key) + ".");
  });
}

/// The target and the held-out rows have to be those of the run; other rows only where they were asked for.
void verify_what_is_read(const RunDirectory& run, const RunConfig& config, const EvaluateOptions& options,
                         const Observer& observer) {
  std::vector<InputRole> roles = input_roles(config);
  std::erase_if(roles, [&](const InputRole& role) {
    return role.name != "target" &&
           (role.name != "data.eval" || is_overridden(options.overrides, "data.eval.path"));
  });
  verify_inputs(run.provenance_path(), roles, observer);
}

/// What evaluation.json is to hold: after an evaluation of some metrics alone, the others' figures too, where
/// they are of the same step and overrides; nothing where they are not.
std::optional<std::string> evaluation_to_keep(const RunDirectory& run, const EvaluateOptions& options,
                                              const EvaluateResult& result) {
  using Json = nlohmann::ordered_json;
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
  const RunDirectory run = RunDirectory::open(options.run);
  std::vector<std::string> overrides = options.overrides;
  if (options.device) overrides.push_back("device=" + *options.device);
  RunConfig config = load_run_config(run.config_path(), overrides, config::Files::may_be_missing);
  const std::string source = run.config_path().string();
  const MetricChoice wanted = chosen_metrics(config.evaluation.metrics, options.metrics, source);
  VPD_CHECK(!config.evaluation.metrics.empty(), ConfigError,
            "{}: evaluation.metrics is empty: nothing to measure; add one with --set, as in "
            "--set 'evaluation.metrics=[{{type: ce_kl}}, {{type: ci_l0}}]'",
            source);
  if (options.checkpoint) run.checkpoint(*options.checkpoint);  // before anything large is read
  if (!run.latest()) refuse_without_checkpoint(run);
  const ThreadNumber thread_number(options.threads);
  const Numerics numerics = resolve_numerics(config.device, config.precision);
  observer.announce("reading the target");
  Decomposition decomposition = make_decomposition(config, numerics, source, result.warnings);
  verify_what_is_read(run, config, options, observer);
  observer.announce("reading the checkpoint");
  const Checkpoint checkpoint = load_chosen(run, options.checkpoint, decomposition);
  result.step = checkpoint.step;
  check_metrics(decomposition, config, source);
  const auto eval = open_dataset(config.data.eval, decomposition.target->input(), config.seed, DataRole::eval,
                                 source + ": data.eval");
  const int threads = thread_number.get();
  const std::int64_t rows = config.evaluation.batch_size;
  const int lanes = suitable_lanes(numerics.device, std::min(rows, eval->rows().value_or(rows)), threads);
  Lanes pool(lanes, threads / lanes);
  result.metrics = evaluate(decomposition, config, *eval, result.step, wanted, pool, &result.arrays,
                            observer.stop, observer.status);
  result.budgets = attack_budgets(config, wanted);
  result.overrides = options.overrides;
  result.checkpoint = fs::relative(checkpoint.path, run.path()).string();
  keep(run, options, result);
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
