#include "vpd/interpretation/unlearn.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>

#include <ATen/ATen.h>

#include "relearning.hpp"
#include "statistics.hpp"
#include "unlearn_baselines.hpp"
#include "unlearn_choice.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/interpretation/edit_effect.hpp"
#include "vpd/interpretation/intervention.hpp"

namespace vpd {
namespace {

constexpr std::uint64_t stream_of_effects = 7, stream_of_sides = 8;

struct BaselineName {
  Baseline baseline;
  const char *name, *description;
};
constexpr BaselineName baselines[] = {
    {Baseline::random, "random", "random sets of the same sites and density, in the mean"},
    {Baseline::activation, "activation", "largest differences of mean |activation|"},
    {Baseline::importance, "importance", "largest differences of mean importance"},
    {Baseline::estimate, "estimate", "largest first-order estimates"},
    {Baseline::graphs, "graphs",
     "kept most often by importances optimised for each prompt, without an adversary"},
    {Baseline::mean_difference, "mean_difference", "the stream without the difference of means"},
    {Baseline::rank_1, "rank_1", "a rank-1 update of each matrix that the set edits"},
    {Baseline::rank_4, "rank_4", "a rank-4 update of each matrix that the set edits"}};

const BaselineName& named(Baseline baseline) {
  return *std::find_if(std::begin(baselines), std::end(baselines),
                       [&](const BaselineName& one) { return one.baseline == baseline; });
}

std::vector<double> flattened(const std::vector<std::vector<float>>& rows) {
  std::vector<double> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

/// Measures alterations on the prompts that figures are from.
class Meter {
 public:
  Meter(const Decomposition& d, const std::vector<AuditPrompt>& behaviour,
        const std::vector<AuditPrompt>& against, Lanes& lanes)
      : d_(d), behaviour_(behaviour), against_(against), lanes_(lanes) {
    before_ = prompt_figures(d, behaviour, {}, lanes);
    side_before_ = prompt_figures(d, against, {}, lanes);
  }

  const PromptFigures& before() const { return before_; }
  /// The largest change of the metric of a prompt against; NaN where none has a target.
  double stayed(const PromptFigures& side) const {
    std::vector<double> changes;
    for (std::size_t p = 0; p < side.metric.size(); ++p)
      changes.push_back(side.metric[p] - side_before_.metric[p]);
    return largest_magnitude(changes);
  }

  CurvePoint point(std::string label, const Alteration& alteration) const {
    const PromptFigures after = prompt_figures(d_, behaviour_, alteration, lanes_),
                        side = prompt_figures(d_, against_, alteration, lanes_);
    return {.label = std::move(label),
            .effect = mean_of(after.metric) - mean_of(before_.metric),
            .probability = mean_of(after.probability),
            .side = mean_of(flattened(side.kl)),
            .stayed = stayed(side)};
  }
  CurvePoint untouched() const {
    return {.label = "0", .probability = mean_of(before_.probability), .stayed = stayed(side_before_)};
  }

 private:
  const Decomposition& d_;
  const std::vector<AuditPrompt>&behaviour_, &against_;
  Lanes& lanes_;
  PromptFigures before_, side_before_;
};

class Unlearning {
 public:
  Unlearning(const Decomposition& d, const PromptSplit& behaviour, const PromptSplit& against,
             const UnlearnSettings& settings, const Evidence* evidence, Lanes& lanes,
             const Observer& observer)
      : d_(d),
        behaviour_(behaviour),
        against_(against),
        settings_(settings),
        evidence_(evidence),
        lanes_(lanes),
        observer_(observer),
        meter_(d, behaviour.report, against.report, lanes) {}

  UnlearnResult run() {
    result_.metric = mean_of(meter_.before().metric);
    result_.probability = mean_of(meter_.before().probability);
    check_behaviour(result_.probability, settings_.audit);
    VPD_CHECK(settings_.stay == 0.0 || !std::isnan(meter_.untouched().stayed), UsageError,
              "--stay: expected a prompt against the behaviour that has a target, found none; give those "
              "that are to stay a \"target\" in the file of --against, or leave --stay out");
    chosen_ = choose_set(d_, behaviour_.select, against_.select, settings_, lanes_, observer_);
    result_.set = chosen_.columns;
    if (result_.set.empty()) {
      result_.warnings.push_back(fmt::format(
          "no subcomponent lowers the metric by twice its standard error within a mean KL of {:g}{}: raise "
          "{}, or give more prompts",
          settings_.budget,
          settings_.stay > 0.0
              ? fmt::format(" and a change of {:g} nats at any prompt that is to stay", settings_.stay)
              : "",
          settings_.stay > 0.0 ? "--budget or --stay" : "--budget"));
      return std::move(result_);
    }
    result_.curves.push_back({"subcomponents", "the chosen set, one after the other",
                              prefixes(result_.set, std::numeric_limits<double>::infinity())});
    measure_set();
    for (const Baseline baseline : settings_.baselines) {
      observer_.announce(fmt::format("measuring a baseline: {}", named(baseline).description));
      std::vector<CurvePoint> points = points_of(baseline);
      if (!points.empty())
        result_.curves.push_back({named(baseline).name, named(baseline).description, std::move(points)});
    }
    check_redundancy();
    if (settings_.relearn_steps > 0) train_again();
    return std::move(result_);
  }

 private:
  void stop_if_asked() const { end_if_asked(observer_.stop, "the unlearning"); }

  /// The curve of a growing set, up to a damage of `most`.
  std::vector<CurvePoint> prefixes(const std::vector<std::int64_t>& columns, double most) const {
    std::vector<CurvePoint> points = {meter_.untouched()};
    for (std::size_t n = 1; n <= columns.size(); ++n) {
      stop_if_asked();
      points.push_back(meter_.point(
          std::to_string(n),
          without_subcomponents({columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(n)}, d_)));
      if (points.back().side > most) break;
    }
    return points;
  }

  void measure_set() {
    const Alteration alteration = without_subcomponents(result_.set, d_);
    const PromptFigures after = prompt_figures(d_, behaviour_.report, alteration, lanes_),
                        side = prompt_figures(d_, against_.report, alteration, lanes_);
    std::vector<double> change, damage;
    for (std::size_t i = 0; i < after.metric.size(); ++i)
      change.push_back(after.metric[i] - meter_.before().metric[i]);
    std::vector<float> each;
    for (const auto& row : side.kl) {
      damage.push_back(std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(row.size()));
      each.insert(each.end(), row.begin(), row.end());
    }
    const auto key = [&](std::uint64_t stream) {
      return make_key(settings_.audit.seed, RandomPurpose::control, stream);
    };
    result_.effect = mean_of(change);
    std::tie(result_.effect_low, result_.effect_high) =
        bootstrap_of_mean(change, key(stream_of_effects), settings_.audit.resamples);
    result_.probability_after = mean_of(after.probability);
    result_.side = mean_of(flattened(side.kl));
    std::tie(result_.side_low, result_.side_high) =
        bootstrap_of_mean(damage, key(stream_of_sides), settings_.audit.resamples);
    result_.side_99 = quantile_of(std::move(each), 0.99);
    result_.stayed = meter_.stayed(side);
    if (result_.side > 1.5 * settings_.budget)
      result_.warnings.push_back(fmt::format(
          "the damage on the prompts that figures are from, {:.3g}, is beyond the budget of {:g}, "
          "which held where the set was chosen: more prompts would choose better",
          result_.side, settings_.budget));
    if (settings_.stay > 0.0 && result_.stayed > 1.5 * settings_.stay)
      result_.warnings.push_back(
          fmt::format("the metric of a prompt that figures are from, and that is to stay, changes by {:.3g}, "
                      "beyond the {:g} which held where the set was chosen: more prompts would choose better",
                      result_.stayed, settings_.stay));

    const std::vector<std::string> groups = groups_of(behaviour_.report);
    const auto means = [&](const std::vector<double>& values) {
      return group_means(behaviour_.report, groups, values);
    };
    const auto metric_before = means(meter_.before().metric), metric_after = means(after.metric),
               p_before = means(meter_.before().probability), p_after = means(after.probability);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const auto prompts = std::count_if(
          behaviour_.report.begin(), behaviour_.report.end(),
          [&](const AuditPrompt& prompt) { return prompt.group == groups[g] && prompt.target.has_value(); });
      result_.groups.push_back(
          {groups[g], prompts, metric_before[g], metric_after[g], p_before[g], p_after[g]});
    }
  }

  std::vector<CurvePoint> points_of(Baseline baseline) {
    switch (baseline) {
      case Baseline::random:
        return random_sets();
      case Baseline::activation:
      case Baseline::importance:
      case Baseline::estimate:
      case Baseline::graphs:
        return prefixes(ranking_of(baseline), 2.0 * settings_.budget);
      case Baseline::mean_difference:
        return projections();
      case Baseline::rank_1:
        return low_rank(1, baseline);
      case Baseline::rank_4:
        return low_rank(4, baseline);
    }
    return {};
  }

  std::vector<CurvePoint> random_sets() {
    VPD_CHECK(evidence_, UsageError,
              "expected a harvest, which says what fires as often as the chosen set, found none: run `vpd "
              "harvest RUN` first, or leave \"random\" out of --baselines");
    const ControlSets controls =
        control_sets(*evidence_, result_.set, settings_.controls, settings_.audit.seed);
    if (controls.sets.empty()) {
      result_.warnings.push_back("there are no other sets of the same sites to compare the chosen one with");
      return {};
    }
    if (controls.beyond > 0)
      result_.warnings.push_back(
          fmt::format("{} of {} random sets have members that fire more or less often by over a quarter",
                      controls.beyond, controls.sets.size()));
    std::vector<CurvePoint> points = {meter_.untouched()};
    for (std::size_t n = 1; n <= result_.set.size(); ++n) {
      CurvePoint mean{.label = std::to_string(n)};
      for (const std::vector<std::int64_t>& set : controls.sets) {
        stop_if_asked();
        const CurvePoint one = meter_.point(
            "", without_subcomponents({set.begin(), set.begin() + static_cast<std::ptrdiff_t>(n)}, d_));
        const auto count = static_cast<double>(controls.sets.size());
        mean.effect += one.effect / count;
        mean.probability += one.probability / count;
        mean.side += one.side / count;
        mean.stayed += one.stayed / count;
      }
      points.push_back(mean);
    }
    return points;
  }

  std::vector<std::int64_t> ranking_of(Baseline baseline) const {
    at::Tensor score;
    if (baseline == Baseline::estimate) {
      score = -estimated_effects(d_, behaviour_.select, lanes_);
    } else if (baseline == Baseline::graphs) {
      PruneSettings pruning = settings_.audit.graphs;
      pruning.masks = PruneMasks::importance;
      score = at::tensor(kept_shares(d_, behaviour_.select, pruning, lanes_, observer_), at::kDouble);
    } else {
      const PromptMeans mine = prompt_means(d_, behaviour_.select, lanes_),
                        theirs = prompt_means(d_, against_.select, lanes_);
      score = baseline == Baseline::importance
                  ? mine.importance.mean(0) - theirs.importance.mean(0)
                  : (mine.absolute_activation.mean(0) - theirs.absolute_activation.mean(0)).abs();
    }
    const at::Tensor order = std::get<1>(score.sort(/*stable=*/true, 0, /*descending=*/true))
                                 .narrow(0, 0, std::min(settings_.most, score.size(0)))
                                 .contiguous();
    return {order.const_data_ptr<std::int64_t>(), order.const_data_ptr<std::int64_t>() + order.numel()};
  }

  std::vector<CurvePoint> projections() {
    const std::vector<at::Tensor> directions =
        mean_difference(d_, behaviour_.select, against_.select, lanes_);
    const Meter select(d_, behaviour_.select, against_.select, lanes_);
    double best = 0.0;
    std::optional<std::size_t> block;
    for (std::size_t b = 0; b < directions.size(); ++b) {
      stop_if_asked();
      if (!directions[b].defined()) continue;
      const CurvePoint point = select.point("", without_direction(b, directions[b], 1.0));
      const double score = -point.effect / (point.side + audit_side_offset);
      if (block && score <= best) continue;
      best = score;
      block = b;
    }
    if (!block) {
      result_.warnings.push_back("the target shows no residual stream: no difference of means was tried");
      return {};
    }
    std::vector<CurvePoint> points = {meter_.untouched()};
    for (const double strength : {0.125, 0.25, 0.5, 0.75, 1.0}) {
      stop_if_asked();
      strongest_[Baseline::mean_difference] = without_direction(*block, directions[*block], strength);
      points.push_back(meter_.point(fmt::format("{:g}", strength), strongest_[Baseline::mean_difference]));
    }
    return points;
  }

  /// Of the largest pass of a fit.
  std::int64_t positions_at_once() const {
    std::int64_t most = 0;
    for (const auto* prompts : {&behaviour_.select, &against_.select})
      for (const PromptBatch& batch : batch_prompts(*prompts, at::kCPU))
        most = std::max(most, batch.tokens.numel());
    return most;
  }

  std::vector<CurvePoint> low_rank(std::int64_t rank, Baseline baseline) {
    std::vector<std::size_t> matrices;
    for (const std::int64_t column : result_.set) {
      for (const Site& site : d_.sites.all()) {
        const bool own = column >= site.offset && column < site.offset + site.C && !site.embedding;
        if (own && std::find(matrices.begin(), matrices.end(), site.matrix) == matrices.end())
          matrices.push_back(site.matrix);
      }
    }
    if (matrices.empty()) return {};
    const double before = mean_of(prompt_figures(d_, behaviour_.select, {}, lanes_).metric);
    std::vector<CurvePoint> points = {meter_.untouched()};
    for (const double part : {0.25, 0.5, 0.75, 1.0}) {
      const FitSettings fit{.rank = rank,
                            .steps = settings_.fit_steps,
                            .metric = before + part * chosen_.effect,
                            .before = before,
                            .budget = settings_.budget,
                            .seed = settings_.audit.seed,
                            .each_step = [this] { stop_if_asked(); }};
      compute_undivided(d_, positions_at_once(), [&] {
        strongest_[baseline] =
            with_updates(fit_updates(d_, matrices, behaviour_.select, against_.select, fit));
      });
      points.push_back(meter_.point(fmt::format("{:g} of the effect", part), strongest_[baseline]));
    }
    return points;
  }

  void check_redundancy() {
    observer_.announce("taking each member out of the circuit alone");
    const CircuitEffects circuit = circuit_effects(d_, behaviour_.report, result_.set, lanes_, observer_);
    result_.circuit_probability = mean_of(circuit.probability);
    const std::vector<AblationEffects> effects =
        ablation_effects(d_, behaviour_.report, result_.set, lanes_, observer_);
    for (std::size_t i = 0; i < result_.set.size(); ++i)
      result_.redundancy.push_back({.column = result_.set[i],
                                    .in_target = mean_of(effects[i].metric),
                                    .in_circuit = mean_of(circuit.metric[i])});
  }

  void train_again() {
    observer_.announce("training the altered targets on the prompts again");
    const RelearnSettings settings{.steps = settings_.relearn_steps,
                                   .rate = settings_.relearn_rate,
                                   .each_step = [this] { stop_if_asked(); }};
    const auto learn = [&](const std::string& name, const Alteration& alteration) {
      compute_undivided(d_, positions_at_once(), [&] {
        result_.relearning.push_back(
            relearn(d_, alteration, behaviour_.select, behaviour_.report, settings, lanes_));
      });
      result_.relearning.back().name = name;
    };
    learn("target", {});
    learn("subcomponents", without_subcomponents(result_.set, d_));
    for (const auto& [baseline, alteration] : strongest_) learn(named(baseline).name, alteration);
  }

  const Decomposition& d_;
  const PromptSplit &behaviour_, &against_;
  const UnlearnSettings& settings_;
  const Evidence* evidence_;
  Lanes& lanes_;
  const Observer& observer_;
  Meter meter_;
  ChosenSet chosen_;
  std::map<Baseline, Alteration> strongest_;  // of those that are no sets
  UnlearnResult result_;
};

}  // namespace

std::string name_of(Baseline baseline) { return named(baseline).name; }

std::vector<Baseline> all_baselines() {
  std::vector<Baseline> all;
  for (const BaselineName& one : baselines) all.push_back(one.baseline);
  return all;
}

std::vector<Baseline> parse_baselines(const std::string& text) {
  if (text == "all") return all_baselines();
  if (text == "none") return {};
  std::vector<Baseline> chosen;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string name = text.substr(begin, end - begin);
    const auto* found = std::find_if(std::begin(baselines), std::end(baselines),
                                     [&](const BaselineName& one) { return name == one.name; });
    std::vector<std::string> names = {"all", "none"};
    for (const BaselineName& one : baselines) names.emplace_back(one.name);
    VPD_CHECK(found != std::end(baselines), UsageError, "--baselines: expected some of {}, found {}",
              join_words(names), quote_foreign(name));
    chosen.push_back(found->baseline);
    begin = end + 1;
  }
  return chosen;
}

double UnlearnCurve::fall_within(double side) const {
  double most = 0.0;
  for (const CurvePoint& point : points)
    if (point.side <= side) most = std::max(most, -point.effect);
  return most;
}

double UnlearnCurve::area(double budget) const {
  std::vector<double> steps = {0.0};
  for (const CurvePoint& point : points)
    if (point.side > 0.0 && point.side < budget) steps.push_back(point.side);
  steps.push_back(budget);
  std::sort(steps.begin(), steps.end());
  double area = 0.0;
  for (std::size_t i = 0; i + 1 < steps.size(); ++i)
    area += fall_within(steps[i]) * (steps[i + 1] - steps[i]);
  return area / budget;
}

UnlearnResult unlearn(const Decomposition& d, const PromptSplit& behaviour, const PromptSplit& against,
                      const UnlearnSettings& settings, const Evidence* evidence, Lanes& lanes,
                      const Observer& observer) {
  check_prompts(behaviour, against, settings.audit);
  return Unlearning(d, behaviour, against, settings, evidence, lanes, observer).run();
}

}  // namespace vpd
