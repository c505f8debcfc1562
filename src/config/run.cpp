#include "vpd/config/run.hpp"

#include <spdlog/fmt/fmt.h>

#include "vpd/config/reflection.hpp"

namespace vpd {
namespace {

const config::Type& run_type() {
  static const config::Type type = config::type_of<RunConfig>();
  return type;
}

/// Rows of the background and terms that are taken of them go together.
std::optional<config::Complaint> validate_background(const RunConfig& run) {
  const ObjectivePlan objective = plan_of(run.objective);
  const bool has_terms = !terms_of(objective, TermRows::background).empty();
  for (std::size_t k = 0; k < objective.size() && !run.data.background; ++k) {
    if (objective[k].rows != TermRows::background) continue;
    return config::Complaint{fmt::format("objective[{}].rows", k),
                             "expected target without rows in data.background, found background"};
  }
  if (run.data.background && !has_terms) {
    return config::Complaint{
        "data.background", "expected null while no term of the objective has `rows: background`, found rows"};
  }
  if (run.training.background_batch_size && !run.data.background) {
    return config::Complaint{"training.background_batch_size",
                             "expected null without rows in data.background, found a number"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<config::Complaint> RunConfig::validate() const {
  if (auto complaint = validate_background(*this)) return complaint;
  if (auto complaint = validate_objective(objective, delta_component)) {
    return config::Complaint{"objective" + complaint->where, complaint->text};
  }
  for (std::size_t k = 0; training.cuda_graph && k < objective.size(); ++k) {
    if (coefficient_of(objective[k]).as_number()) continue;
    return config::Complaint{
        fmt::format("objective[{}].coefficient", k),
        "expected a number, since training.cuda_graph captures the step with its coefficients, found a "
        "schedule"};
  }
  if (evaluation.importances == MeasuredImportances::topk_attribution && !largest_masks(plan_of(objective))) {
    return config::Complaint{
        "evaluation.importances",
        "expected causal_importance without a term topk_attribution_recon in the objective, found "
        "topk_attribution"};
  }
  if (auto complaint = validate_metrics(evaluation.metrics, delta_component)) {
    return config::Complaint{"evaluation.metrics" + complaint->where, complaint->text};
  }
  return std::nullopt;
}

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides,
                          config::Files files) {
  RunConfig run;
  config::assign(run, config::load(path, overrides, run_type(), files), "");
  return run;
}

RunConfig parse_run_config(const std::string& text, const std::string& name) {
  return config::from_value<RunConfig>(config::parse_json(text, name), run_type(), {});
}

void check(const RunConfig& run) { config::from_value<RunConfig>(config::value_of(run), run_type(), {}); }

std::string to_yaml(const RunConfig& run) { return config::to_yaml(config::value_of(run)); }

std::string to_json(const RunConfig& run) { return config::to_json(config::value_of(run)); }

std::vector<std::string> differences(const RunConfig& before, const RunConfig& after) {
  return config::differences(config::value_of(before), config::value_of(after));
}

std::vector<std::string> warnings(const RunConfig& run) {
  std::vector<std::string> sentences;
  for (const TermPlan& term : plan_of(run.objective)) {
    const bool is_monitor =
        term.masks<ConstantMasks>() && term.reconstruction()->comparison == Comparison::output;
    if (!is_monitor || term.coefficient.largest() == 0.0) continue;
    sentences.push_back(
        fmt::format("WARNING: THE OBJECTIVE TRAINS ON {}, A MONITOR THAT SHOULD ONLY BE MEASURED, SINCE "
                    "TRAINING ON IT HIDES WHAT IT SHOWS; "
                    "SET THE COEFFICIENT TO 0 TO MEASURE IT ONLY.",
                    term.label));
  }
  return sentences;
}

std::string json_schema() { return config::to_json(config::schema(run_type(), "vpd decompose")); }

std::string reference_markdown() { return config::reference(run_type(), "Configuration of a decomposition"); }

}  // namespace vpd
