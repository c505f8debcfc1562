#include "vpd/run/audit.hpp"

#include <chrono>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "prompt_files.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

at::Tensor column_of(const std::vector<AuditedSubcomponent>& ranking, double AuditedSubcomponent::*figure) {
  std::vector<double> values;
  for (const AuditedSubcomponent& one : ranking) values.push_back(one.*figure);
  return at::tensor(values, at::kDouble).to(at::kFloat);
}

void keep(const AuditRunResult& result, const AuditOptions& options, const EditSource& source) {
  publish_result(result.directory, [&](const std::filesystem::path& to) {
    const std::vector<AuditedSubcomponent>& ranking = result.audit.ranking;
    std::vector<std::int64_t> columns;
    for (const AuditedSubcomponent& one : ranking) columns.push_back(one.column);
    save_safetensors(to / "ranking.safetensors",
                     {{"subcomponent", at::tensor(columns, at::kLong).to(at::kInt)},
                      {"estimate", column_of(ranking, &AuditedSubcomponent::estimate)},
                      {"estimate_against", column_of(ranking, &AuditedSubcomponent::estimate_against)},
                      {"effect", column_of(ranking, &AuditedSubcomponent::effect)},
                      {"effect_low", column_of(ranking, &AuditedSubcomponent::effect_low)},
                      {"effect_high", column_of(ranking, &AuditedSubcomponent::effect_high)},
                      {"effect_in_circuit", column_of(ranking, &AuditedSubcomponent::effect_in_circuit)},
                      {"side", column_of(ranking, &AuditedSubcomponent::side)},
                      {"kl_wanted", column_of(ranking, &AuditedSubcomponent::kl_wanted)},
                      {"kl_elsewhere_99", column_of(ranking, &AuditedSubcomponent::kl_elsewhere)},
                      {"score", column_of(ranking, &AuditedSubcomponent::score)},
                      {"auc_importance", column_of(ranking, &AuditedSubcomponent::auc_importance)},
                      {"auc_activation", column_of(ranking, &AuditedSubcomponent::auc_activation)}});
    write_atomically(to / "report.json", audit_json(result));
    write_about_edit(to, source, options.command_line, result.warnings);
  });
}

/// Effects by group, where prompts name groups.
std::string groups_text(const AuditRunResult& result) {
  if (result.audit.groups.empty()) return {};
  std::string text = fmt::format("\n{:<26}", "effect by group");
  for (const std::string& group : result.audit.groups) text += fmt::format(" {:>12.12}", printable(group));
  text += "\n";
  for (std::size_t i = 0; i < result.keys.size() && static_cast<std::int64_t>(i) < result.most; ++i) {
    text += fmt::format("{:<26}", result.keys[i]);
    for (const double effect : result.audit.ranking[i].group_effects)
      text += fmt::format(" {:>12.4f}", effect);
    text += "\n";
  }
  return text;
}

}  // namespace

AuditRunResult audit_run(const AuditOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_slug(options.slug);
  EditSource source(opened_for(options, options.prompts), observer);
  AuditRunResult result{.step = source.run.checkpoint.step, .most = options.most};
  result.warnings = source.run.warnings;
  const auto [behaviour, against] = read_both(options.prompts, source, result.warnings);
  result.behaviour = static_cast<std::int64_t>(behaviour.report.size());
  result.against = static_cast<std::int64_t>(against.report.size());
  result.audit =
      audit(source.run.decomposition, behaviour, against, options.settings, *source.run.lanes, observer);
  const Labels labels(labels_path(source.run.directory, result.step));
  for (const AuditedSubcomponent& one : result.audit.ranking) {
    result.keys.push_back(key_of_column(one.column, source.run.decomposition.sites));
    result.labels.push_back(labels.label_of(result.keys.back()));
  }
  result.directory = results_path(source.run.directory, result.step) / "audits" / options.slug;
  result.seconds = seconds_since(start);
  keep(result, options, source);
  return result;
}

std::string audit_text(const AuditRunResult& result) {
  std::string text = fmt::format(
      "step {}, figures from {} prompts of the behaviour and {} against it; mean metric {:.4f}, mean "
      "p(target) {:.4f}\n\n",
      result.step, result.behaviour, result.against, result.audit.metric, result.audit.probability);
  text += fmt::format("{:<26} {:>8} {:>8} {:>19} {:>8} {:>9} {:>8} {:>6} {:>6}\n", "", "score", "effect",
                      "95 % interval", "circuit", "side KL", "specific", "AUC g", "AUC a");
  bool made_up_for = false;
  for (std::size_t i = 0; i < result.keys.size() && static_cast<std::int64_t>(i) < result.most; ++i) {
    const AuditedSubcomponent& one = result.audit.ranking[i];
    text += fmt::format("{:<26} {:>8.2f} {:>8.4f} {:>19} {:>7.3f}{} {:>9.5f} {:>8.3g} {:>6.2f} {:>6.2f}",
                        result.keys[i], one.score, one.effect,
                        fmt::format("{:.4f} to {:.4f}", one.effect_low, one.effect_high),
                        one.effect_in_circuit, one.redundancy().made_up_for() ? "*" : " ", one.side,
                        one.specificity(), one.auc_importance, one.auc_activation);
    made_up_for = made_up_for || one.redundancy().made_up_for();
    text += result.labels[i].empty() ? "\n" : "  " + printable(result.labels[i]) + "\n";
  }
  text +=
      "\neffect: change of the metric when it is taken out of the target (below 0: it serves the behaviour)\n"
      "circuit: the same where only what is important for a prompt acts\n"
      "side KL: mean over all positions of the others; score: -effect / (side + 0.001)\n"
      "specific: KL behind the prompts of the behaviour over the 99th percentile of KL on the others\n";
  if (made_up_for)
    text += "*: it counts in the circuit and hardly in the target, where something else makes up for it\n";
  text += groups_text(result);
  return text + fmt::format("\nresult       {}\n", result.directory.string());
}

std::string audit_json(const AuditRunResult& result) {
  Json ranking = Json::array();
  for (std::size_t i = 0; i < result.keys.size(); ++i) {
    const AuditedSubcomponent& one = result.audit.ranking[i];
    Json groups = Json::object();
    for (std::size_t g = 0; g < result.audit.groups.size(); ++g)
      groups[result.audit.groups[g]] = one.group_effects[g];
    ranking.push_back({{"key", result.keys[i]},
                       {"label", result.labels[i]},
                       {"score", one.score},
                       {"effect", one.effect},
                       {"effect_low", one.effect_low},
                       {"effect_high", one.effect_high},
                       {"effect_in_circuit", one.effect_in_circuit},
                       {"made_up_for", one.redundancy().made_up_for()},
                       {"side", one.side},
                       {"kl_wanted", one.kl_wanted},
                       {"kl_elsewhere_99", one.kl_elsewhere},
                       {"specificity", one.specificity()},
                       {"groups", groups},
                       {"estimate", one.estimate},
                       {"estimate_against", one.estimate_against},
                       {"importance", one.importance},
                       {"importance_against", one.importance_against},
                       {"auc_importance", one.auc_importance},
                       {"auc_activation", one.auc_activation}});
  }
  const Json document = {{"step", result.step},
                         {"prompts", result.behaviour},
                         {"against", result.against},
                         {"metric", result.audit.metric},
                         {"probability", result.audit.probability},
                         {"ranking", ranking},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
