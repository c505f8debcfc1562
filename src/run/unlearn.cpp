#include "vpd/run/unlearn.hpp"

#include <chrono>
#include <cmath>

#include <nlohmann/json.hpp>

#include "edited_target.hpp"
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

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

void check_options(const UnlearnOptions& options) {
  check_slug(options.slug);
  VPD_CHECK(options.settings.budget > 0.0 && std::isfinite(options.settings.budget), UsageError,
            "--budget: expected a mean KL above 0, in nats, found {:g}", options.settings.budget);
  VPD_CHECK(options.settings.enough >= 0.0 && std::isfinite(options.settings.enough), UsageError,
            "--enough: expected a fall of the metric of at least 0, in nats, found {:g}",
            options.settings.enough);
  VPD_CHECK(options.settings.stay >= 0.0 && std::isfinite(options.settings.stay), UsageError,
            "--stay: expected a change of the metric of at least 0, in nats, found {:g}",
            options.settings.stay);
  VPD_CHECK(options.settings.relearn_rate > 0.0 && std::isfinite(options.settings.relearn_rate), UsageError,
            "--relearn-rate: expected a learning rate above 0, found {:g}", options.settings.relearn_rate);
}

Json curves_json(const UnlearnRunResult& result) {
  Json curves = Json::array();
  for (const UnlearnCurve& curve : result.unlearned.curves) {
    Json points = Json::array();
    for (const CurvePoint& point : curve.points)
      points.push_back({{"at", point.label},
                        {"effect", point.effect},
                        {"probability", point.probability},
                        {"side", point.side},
                        {"stayed", point.stayed}});
    curves.push_back({{"name", curve.name},
                      {"description", curve.description},
                      {"fall_at_budget", curve.fall_within(result.settings.budget)},
                      {"area", curve.area(result.settings.budget)},
                      {"points", points}});
  }
  return curves;
}

std::string curves_text(const UnlearnRunResult& result) {
  std::string text = fmt::format("\n{:<17} {:>9} {:>9} {:>9} {:>10} {:>9}\n", "method", "fall at",
                                 "mean fall", "all of it", "p(target)", "side KL");
  text += fmt::format("{:<17} {:>9} {:>9} {:>9} {:>10} {:>9}\n", "", "budget", "below it", "", "", "");
  for (const UnlearnCurve& curve : result.unlearned.curves) {
    const CurvePoint& last = curve.points.back();
    text += fmt::format("{:<17} {:>9.4f} {:>9.4f} {:>9.4f} {:>10.4f} {:>9.5f}\n", curve.name,
                        curve.fall_within(result.settings.budget), curve.area(result.settings.budget),
                        -last.effect, last.probability, last.side);
  }
  return text +
         "\nfall at budget: the largest fall of the metric at a mean KL on the others within the budget; "
         "mean "
         "fall below it:\nits mean over all smaller budgets; all of it: the method's strongest point, with "
         "its "
         "p(target) and side KL\n";
}

std::string groups_text(const std::vector<GroupFigures>& groups) {
  if (groups.empty()) return {};
  std::string text = fmt::format("\n{:<17} {:>8} {:>21} {:>21}\n", "group", "prompts", "metric before, after",
                                 "p before, after");
  for (const GroupFigures& g : groups)
    text += fmt::format("{:<17.17} {:>8} {:>10.4f} {:>10.4f} {:>10.4f} {:>10.4f}\n", printable(g.name),
                        g.prompts, g.metric_before, g.metric_after, g.p_before, g.p_after);
  return text;
}

std::string redundancy_text(const UnlearnRunResult& result) {
  std::string text = fmt::format("\n{:<32} {:>10} {:>14}   of the metric when it is taken out alone\n",
                                 "change", "in target", "in the circuit");
  for (std::size_t i = 0; i < result.keys.size(); ++i) {
    const RedundancyCheck& one = result.unlearned.redundancy[i];
    text += fmt::format("{:<32} {:>10.4f} {:>14.4f}{}\n", result.keys[i], one.in_target, one.in_circuit,
                        one.made_up_for() ? "   others make up for it in the target" : "");
  }
  return text +
         fmt::format(
             "the circuit: only subcomponents with g > 0 on the prompt act; its mean p(target) is {:.4f}\n",
             result.unlearned.circuit_probability);
}

std::string relearning_text(const std::vector<RelearningCurve>& curves) {
  if (curves.empty()) return {};
  std::string text = fmt::format("\n{:<17}", "p(target) after");
  for (const std::int64_t step : curves.front().steps) text += fmt::format(" {:>7}", step);
  text += "  steps of training on the choosing half\n";
  for (const RelearningCurve& curve : curves) {
    text += fmt::format("{:<17}", curve.name);
    for (const double p : curve.probability) text += fmt::format(" {:>7.4f}", p);
    text += "\n";
  }
  return text;
}

std::vector<EditSpec> ablations(const std::vector<std::string>& keys) {
  std::vector<EditSpec> specs;
  for (const std::string& key : keys) specs.push_back({.kind = EditSpec::Kind::ablate, .key = key});
  return specs;
}

void keep(const UnlearnRunResult& result, const UnlearnOptions& options, const EditSource& source) {
  publish_result(result.directory, [&](const fs::path& to) {
    write_atomically(to / "report.json", unlearn_json(result));
    write_atomically(to / "curve.json", json_text(curves_json(result), 1) + "\n");
    write_atomically(to / "edits.yaml",
                     json_text(Json(edits_json(ablations(result.keys))), 1) + "\n");  // JSON is YAML
    write_about_edit(to, source, options.command_line, result.warnings);
  });
}

}  // namespace

UnlearnRunResult unlearn_run(const UnlearnOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  EditSource source(opened_for(options, options.prompts), observer);
  const Decomposition& d = source.run.decomposition;
  UnlearnRunResult result{.step = source.run.checkpoint.step, .settings = options.settings};
  result.warnings = source.run.warnings;
  if (options.out) check_edited_target(source, {}, *options.out);
  const auto [behaviour, against] = read_both(options.prompts, source, result.warnings);
  result.behaviour = static_cast<std::int64_t>(behaviour.report.size());
  result.against = static_cast<std::int64_t>(against.report.size());
  result.unlearned =
      unlearn(d, behaviour, against, options.settings, source.evidence ? &source.evidence->evidence : nullptr,
              *source.run.lanes, observer);
  result.warnings.insert(result.warnings.end(), result.unlearned.warnings.begin(),
                         result.unlearned.warnings.end());
  const Labels labels(labels_path(source.run.directory, result.step));
  for (const std::int64_t column : result.unlearned.set) {
    result.keys.push_back(key_of_column(column, d.sites));
    result.labels.push_back(labels.label_of(result.keys.back()));
  }
  if (options.out && !result.keys.empty()) {
    observer.announce("writing the edited target");
    const std::vector<EditSpec> specs = ablations(result.keys);
    result.edited =
        write_edited_target(source, specs, source.make(specs), *options.out, "vpd unlearn", result.warnings);
    result.out = options.out;
  }
  result.directory = results_path(source.run.directory, result.step) / "audits" / options.slug;
  result.seconds = seconds_since(start);
  keep(result, options, source);
  VPD_CHECK(!options.out || result.out, UsageError,
            "--out {}: expected a set of subcomponents to take out, found none that lowers the metric within "
            "the budget; nothing was written there",
            options.out->string());
  return result;
}

std::string unlearn_text(const UnlearnRunResult& result) {
  const UnlearnResult& u = result.unlearned;
  std::string text = fmt::format(
      "step {}, figures from {} prompts of the behaviour and {} against it; mean metric {:.4f}, mean "
      "p(target) {:.4f}\n\n",
      result.step, result.behaviour, result.against, u.metric, u.probability);
  if (u.set.empty())
    return text + fmt::format("nothing was chosen\n\nresult       {}\n", result.directory.string());
  text += fmt::format("{} subcomponents, in the order in which they were chosen:\n", u.set.size());
  for (std::size_t i = 0; i < result.keys.size(); ++i)
    text += fmt::format("  {}{}\n", result.keys[i],
                        result.labels[i].empty() ? "" : "  " + printable(result.labels[i]));
  text += fmt::format(
      "\nmetric       {:+.4f} ({:+.4f} to {:+.4f}), p(target) {:.4f} before, {:.4f} after\n"
      "side KL      {:.5f} ({:.5f} to {:.5f}), 99th percentile {:.5f}; budget {:g}\n",
      u.effect, u.effect_low, u.effect_high, u.probability, u.probability_after, u.side, u.side_low,
      u.side_high, u.side_99, result.settings.budget);
  if (!std::isnan(u.stayed))
    text +=
        fmt::format("stayed       metric of the prompts against changes by {:.4f} at most{}\n", u.stayed,
                    result.settings.stay > 0.0 ? fmt::format("; allowed {:g}", result.settings.stay) : "");
  if (result.settings.enough > 0.0)
    text +=
        fmt::format("enough       a fall of the metric by {:g} ends the choice\n", result.settings.enough);
  text +=
      curves_text(result) + groups_text(u.groups) + redundancy_text(result) + relearning_text(u.relearning);
  if (result.out) text += edited_target_text(*result.edited, *result.out);
  return text + fmt::format("\nresult       {}\n", result.directory.string());
}

std::string unlearn_json(const UnlearnRunResult& result) {
  const UnlearnResult& u = result.unlearned;
  Json set = Json::array(), groups = Json::array(), relearning = Json::array();
  for (std::size_t i = 0; i < result.keys.size(); ++i)
    set.push_back({{"key", result.keys[i]},
                   {"label", result.labels[i]},
                   {"in_target", u.redundancy[i].in_target},
                   {"in_circuit", u.redundancy[i].in_circuit},
                   {"made_up_for", u.redundancy[i].made_up_for()}});
  for (const GroupFigures& g : u.groups)
    groups.push_back({{"name", g.name},
                      {"prompts", g.prompts},
                      {"metric", {g.metric_before, g.metric_after}},
                      {"p", {g.p_before, g.p_after}}});
  for (const RelearningCurve& curve : u.relearning)
    relearning.push_back({{"name", curve.name}, {"steps", curve.steps}, {"probability", curve.probability}});
  const Json document = {
      {"step", result.step},
      {"prompts", result.behaviour},
      {"against", result.against},
      {"budget", result.settings.budget},
      {"enough", result.settings.enough},
      {"stay", result.settings.stay},
      {"metric", u.metric},
      {"probability", u.probability},
      {"set", set},
      {"effect", {{"mean", u.effect}, {"low", u.effect_low}, {"high", u.effect_high}}},
      {"probability_after", u.probability_after},
      {"stayed", u.stayed},
      {"side", {{"mean", u.side}, {"low", u.side_low}, {"high", u.side_high}, {"percentile_99", u.side_99}}},
      {"curves", curves_json(result)},
      {"groups", groups},
      {"circuit_probability", u.circuit_probability},
      {"relearning", relearning},
      {"out", result.out ? Json(result.out->string()) : Json()},
      {"written", result.edited ? written_json(result.edited->written) : Json::array()},
      {"seconds", result.seconds},
      {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
