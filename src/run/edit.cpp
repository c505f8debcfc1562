#include "vpd/run/edit.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "edited_target.hpp"
#include "token_rows.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/intervention.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

/// Figures that are compared with controls'.
using NamedFigures = std::vector<std::pair<std::string, Interval>>;

NamedFigures figures_of(const EditEffect& e, bool wanted) {
  NamedFigures figures = {{"near_kl", e.near},
                          {"far_kl", e.far},
                          {"important_kl", e.important},
                          {"all_kl", e.all},
                          {"ce_change", e.ce_change}};
  if (!wanted) return figures;
  figures.emplace_back("wanted_p_lost", e.p_lost);
  figures.emplace_back("wanted_ln_p_lost", e.ln_p_lost);
  figures.emplace_back("wanted_argmax_lost", e.argmax_lost);
  return figures;
}

/// The edit's figures among those of its controls.
std::vector<ControlledFigure> compare(const NamedFigures& edit, const std::vector<NamedFigures>& controls) {
  std::vector<ControlledFigure> compared;
  for (std::size_t i = 0; i < edit.size(); ++i) {
    ControlledFigure figure{.name = edit[i].first, .edit = edit[i].second};
    const auto count = static_cast<double>(controls.size());
    double below = 0.0;
    for (const NamedFigures& control : controls) {
      const double x = control[i].second.mean;
      figure.control_mean += x / count;
      below += x < figure.edit.mean;
    }
    if (count > 0.0) figure.percentile = below / count;
    for (const NamedFigures& control : controls) {
      const double apart = control[i].second.mean - figure.control_mean;
      figure.control_spread += apart * apart / std::max(1.0, count - 1.0);
    }
    figure.control_spread = std::sqrt(figure.control_spread);
    compared.push_back(figure);
  }
  return compared;
}

NamedFigures figures_of(const MechanismMeasure& measure, std::size_t set, bool intervals) {
  NamedFigures figures;
  if (const auto stream = measure.stream(set, intervals)) {
    figures.emplace_back("stream_cosine", stream->cosine);
    figures.emplace_back("stream_gain", stream->gain);
  }
  if (const auto across = measure.across(set, intervals))
    figures.emplace_back("attention_change", across->change);
  return figures;
}

/// What may be said: of the wanted effect for the damage near by, only where no control does as well.
std::string sentence_of(const EditEffect& effect, const std::vector<EditEffect>& controls, bool wanted) {
  if (!wanted) return "No wanted tokens were named, so nothing is said of how well the edit hits them.";
  if (controls.empty()) return "There are no controls, so nothing is said of how concentrated the effect is.";
  if (effect.p_lost.mean <= 0.0)
    return "The wanted tokens' probability did not fall where the edited subcomponents are important.";
  if (effect.near.count == 0 || effect.near.mean <= 0.0)
    return "There is no damage near by to compare the effect with, so nothing is said of how concentrated it "
           "is.";
  const auto ratio = [](const EditEffect& e) {
    return e.near.mean > 0.0     ? e.p_lost.mean / e.near.mean
           : e.p_lost.mean > 0.0 ? std::numeric_limits<double>::infinity()
                                 : 0.0;
  };
  double most = 0.0;
  for (const EditEffect& control : controls) most = std::max(most, ratio(control));
  const double mine = ratio(effect);
  if (mine <= most)
    return fmt::format(
        "Not more concentrated than chance: a control loses as much of the wanted tokens for the same damage "
        "near by (ratio {:.3g}, the best control {:.3g}).",
        mine, most);
  return most > 0.0 ? fmt::format(
                          "For the same damage near by it takes {:.1f} times as much of the wanted tokens as "
                          "the best of {} controls.",
                          mine / most, controls.size())
                    : fmt::format(
                          "It takes away the wanted tokens ({:.3g} of probability for a nat of damage near "
                          "by), and none of {} controls does.",
                          mine, controls.size());
}

Json interval_json(const Interval& i) {
  return {{"mean", i.mean}, {"low", i.low}, {"high", i.high}, {"tokens", i.count}};
}

Json figures_json(const std::vector<ControlledFigure>& figures, std::int64_t controls) {
  Json json = Json::object();
  for (const ControlledFigure& f : figures) {
    json[f.name] = interval_json(f.edit);
    if (controls > 0)
      json[f.name].update({{"control_mean", f.control_mean},
                           {"control_spread", f.control_spread},
                           {"percentile", f.percentile}});
  }
  return json;
}

std::string figures_text(const std::vector<ControlledFigure>& figures, std::int64_t controls) {
  std::string text = fmt::format("{:<20} {:>10} {:>22} {:>10} {:>10} {:>8}\n", "", "edit", "95 % interval",
                                 "controls", "spread", "below it");
  for (const ControlledFigure& f : figures) {
    text += fmt::format("{:<20} {:>10.5f} {:>22} ", f.name, f.edit.mean,
                        fmt::format("{:.5f} to {:.5f}", f.edit.low, f.edit.high));
    text += controls > 0 ? fmt::format("{:>10.5f} {:>10.5f} {:>7.0f}%\n", f.control_mean, f.control_spread,
                                       100.0 * f.percentile)
                         : "\n";
  }
  return text;
}

}  // namespace

EditRunResult edit_run(const EditOptions& options, const Observer& observer) {
  const Clock::time_point start = Clock::now();
  check_slug(options.slug);
  VPD_CHECK(options.effect.threshold >= 0.0 && options.effect.threshold < 1.0, UsageError,
            "--threshold: expected a number of at least 0 and below 1, found {:g}", options.effect.threshold);
  EditSource source(options, observer);
  const Decomposition& d = source.run.decomposition;
  require_one_length(*source.run.eval,
                     fmt::format("name others by --set 'data.eval={{type: tokens, path: \"{}\", "
                                 "sequence_length: 16}}'",
                                 background_tokens(source.run.config.data)));
  EditRunResult result{.step = source.run.checkpoint.step, .edits = options.edits};
  result.warnings = source.run.warnings;
  const std::vector<RankOneEdit> edits = source.make(options.edits);
  if (options.out) check_edited_target(source, edits, *options.out);
  for (const EditSpec& spec : options.edits)
    VPD_CHECK(!spec.where.positions || spec.where.positions->first < source.run.eval->length(), UsageError,
              "{}: expected positions of a row, which has {}, found {} to {}", spec.key,
              source.run.eval->length(), spec.where.positions->first, spec.where.positions->second);
  EffectSettings settings = options.effect;
  if (!options.wanted.empty()) settings.wanted = source.tokens_named(options.wanted);
  for (const std::int64_t token : settings.wanted) result.wanted.push_back(source.token_text(token));

  const MechanismSettings mechanism{
      .threshold = settings.threshold,
      .along_stream = options.along_stream,
      .boundary = options.across.empty() ? std::vector<std::int64_t>() : source.tokens_named(options.across),
      .resamples = settings.resamples,
      .seed = settings.seed};
  std::vector<EffectMeasure> measures;
  std::vector<std::vector<RankOneEdit>> sets;
  const auto measure = [&](const std::vector<RankOneEdit>& one) {
    measures.emplace_back(one, settings);
    sets.push_back(one);
  };
  measure(edits);
  if (options.controls > 0) {
    VPD_CHECK(source.evidence, DataError,
              "--controls {}: expected a harvest, which says what fires as often, found none: run `vpd "
              "harvest {}` first, or give --controls 0",
              options.controls, shell_quoted(options.run.string()));
    const std::vector<std::int64_t> columns = edited_columns(edits);
    const ControlSets controls =
        control_sets(source.evidence->evidence, columns, options.controls, settings.seed);
    for (const auto& set : controls.sets) measure(source.make(moved(options.edits, d.sites, columns, set)));
    result.controls = static_cast<std::int64_t>(controls.sets.size());
    if (result.controls < options.controls)
      result.warnings.push_back(fmt::format("--controls {}: there are only {} other sets of the same sites",
                                            options.controls, result.controls));
    if (controls.beyond > 0)
      result.warnings.push_back(fmt::format(
          "{} of {} controls fire more or less often by over a quarter: there are not as many nearer ones",
          controls.beyond, result.controls));
  }
  std::optional<MechanismMeasure> inside;
  if (mechanism.along_stream || !mechanism.boundary.empty()) inside.emplace(d, sets, mechanism);
  const std::int64_t T = source.run.eval->length(), wanted_rows = (options.positions + T - 1) / T;
  const std::int64_t all_rows = std::min(wanted_rows, source.run.eval->rows().value_or(wanted_rows));
  const std::int64_t at_once = std::clamp<std::int64_t>(
      (std::int64_t{1} << 25) / (T * (d.sites.total_C() + d.target->vocabulary_size())), 1, 64);
  source.run.compute_with(std::min(at_once, all_rows));
  const BatchReader reader(d, *source.run.eval, *source.run.lanes, {.rows = at_once, .limit = all_rows});
  for (std::int64_t k = 0; reader.rows_of(k) > 0; ++k) {
    end_if_asked(observer.stop, "the measurement");
    observer.announce(fmt::format("measuring the edit and {} controls: {} of {} rows", result.controls,
                                  k * at_once, all_rows));
    const Batch batch = reader.read(k);
    for (EffectMeasure& one : measures) one.add(batch);
    if (inside) inside->add(batch);
  }
  result.positions = all_rows * T;
  observer.announce("drawing intervals");
  result.effect = measures.front().result();
  std::vector<EditEffect> controls;
  for (std::size_t i = 1; i < measures.size(); ++i)
    controls.push_back(measures[i].result(/*intervals=*/false));
  const bool wanted = !settings.wanted.empty();
  std::vector<NamedFigures> others;
  for (const EditEffect& control : controls) others.push_back(figures_of(control, wanted));
  result.figures = compare(figures_of(result.effect, wanted), others);
  if (inside) {
    result.stream = inside->stream(0);
    result.across = inside->across(0);
    others.clear();
    for (std::size_t i = 1; i < sets.size(); ++i)
      others.push_back(figures_of(*inside, i, /*intervals=*/false));
    result.mechanism = compare(figures_of(*inside, 0, /*intervals=*/true), others);
  }
  result.sentence = sentence_of(result.effect, controls, wanted);

  if (options.out) {
    observer.announce("writing the edited target");
    result.edited =
        write_edited_target(source, options.edits, edits, *options.out, "vpd edit", result.warnings);
    result.out = options.out;
  }
  result.directory = results_path(source.run.directory, result.step) / "edits" / options.slug;
  result.seconds = seconds_since(start);
  publish_result(result.directory, [&](const fs::path& directory) {
    write_atomically(directory / "effect.json", edit_json(result));
    write_atomically(directory / "edits.yaml",
                     json_text(Json(edits_json(options.edits)), 1) + "\n");  // JSON is YAML
    const auto& kl = measures.front().kl();
    save_safetensors(directory / "tokens.safetensors", {{"kl", at::tensor(kl, at::kFloat).view({-1, T})}});
    write_about_edit(directory, source, options.command_line, result.warnings);
  });
  return result;
}

std::string edit_text(const EditRunResult& result) {
  std::string text =
      fmt::format("step {}, {} held-out positions, {} controls of the same sites and density\n\n",
                  result.step, result.positions, result.controls);
  text += figures_text(result.figures, result.controls);
  const EditEffect& e = result.effect;
  text += fmt::format("\n{} positions where it is important, {} near them, {} far (g = 0)\n",
                      e.important.count, e.near.count, e.far.count);
  text +=
      fmt::format("specificity {:.3g}: KL where it is important over the 99th percentile far away, {:.5f}\n",
                  e.specificity(), e.far_99);
  if (!result.wanted.empty())
    text += fmt::format(
        "wanted ({}): probability {:.4f} before, {:.4f} after; most probable at {:.1f} % before, {:.1f} % "
        "after\n",
        join_words(result.wanted), e.p_before.mean, e.p_after.mean, 100.0 * e.argmax_before.mean,
        100.0 * e.argmax_after.mean);
  text += result.sentence + "\n";
  if (!result.mechanism.empty()) {
    text += '\n';
    text += figures_text(result.mechanism, result.controls);
  }
  if (result.stream)
    text +=
        "stream_cosine, stream_gain: of what it writes where it is important with the residual stream s it "
        "is "
        "added to, y·s/(|y||s|)\nand y·s/|s|²\n";
  if (result.across)
    text += fmt::format(
        "attention from behind the last boundary token to what is before it: {:.4f} of a query's in the "
        "target, "
        "{:.4f} in the edited one\n",
        result.across->before.mean, result.across->after.mean);
  if (result.out) text += edited_target_text(*result.edited, *result.out);
  text += fmt::format("\nresult       {}\n", result.directory.string());
  return text;
}

std::string edit_json(const EditRunResult& result) {
  const EditEffect& e = result.effect;
  const Json wanted = result.wanted.empty() ? Json()
                                            : Json{{"tokens", result.wanted},
                                                   {"p", {e.p_before.mean, e.p_after.mean}},
                                                   {"ln_p", {e.ln_p_before.mean, e.ln_p_after.mean}},
                                                   {"argmax", {e.argmax_before.mean, e.argmax_after.mean}},
                                                   {"positions", e.important.count}};
  const Json document = {{"step", result.step},
                         {"edits", edits_json(result.edits)},
                         {"positions", result.positions},
                         {"near", interval_json(e.near)},
                         {"far", interval_json(e.far)},
                         {"all", interval_json(e.all)},
                         {"important", interval_json(e.important)},
                         {"ce_change", interval_json(e.ce_change)},
                         {"wanted", wanted},
                         {"controls", result.controls},
                         {"figures", figures_json(result.figures, result.controls)},
                         {"far_99", e.far_99},
                         {"specificity", e.specificity()},
                         {"stream", result.stream ? Json{{"cosine", interval_json(result.stream->cosine)},
                                                         {"gain", interval_json(result.stream->gain)}}
                                                  : Json()},
                         {"attention", result.across ? Json{{"before", interval_json(result.across->before)},
                                                            {"after", interval_json(result.across->after)},
                                                            {"change", interval_json(result.across->change)}}
                                                     : Json()},
                         {"mechanism", figures_json(result.mechanism, result.controls)},
                         {"sentence", result.sentence},
                         {"out", result.out ? Json(result.out->string()) : Json()},
                         {"written", result.edited ? written_json(result.edited->written) : Json::array()},
                         {"reloaded_difference", result.edited ? result.edited->reloaded_difference : 0.0},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
