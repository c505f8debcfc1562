#include "vpd/health/health.hpp"

#include <algorithm>
#include <cmath>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/text.hpp"

namespace vpd {
namespace {

using Points = std::vector<MetricPoint>;
using Values = std::vector<double>;

/// Of at least one value.
double median(Values values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

/// Points of steps in [begin, end).
std::pair<Points::const_iterator, Points::const_iterator> between(const Points& points, double begin,
                                                                  double end) {
  const auto first = [&](double step) {
    return std::partition_point(points.begin(), points.end(), [step](const MetricPoint& point) {
      return static_cast<double>(point.step) < step;
    });
  };
  return {first(begin), first(end)};
}

/// The finite ones.
Values values_of(Points::const_iterator begin, Points::const_iterator end) {
  Values values;
  for (; begin != end; ++begin) {
    if (std::isfinite(begin->value)) values.push_back(begin->value);
  }
  return values;
}

/// A finding about several things, each of which may be bad.
struct Statements {
  std::vector<std::string> all, bad;

  void say(bool is_bad, const std::string& text) {
    all.push_back(text);
    if (is_bad) bad.push_back(text);
  }
  void conclude(HealthFinding& finding, const char* remedy) const {
    finding.verdict = bad.empty() ? Verdict::ok : Verdict::warning;
    finding.evidence = join_words(bad.empty() ? all : bad, "; ");
    if (!bad.empty()) finding.remedy = remedy;
  }
};

/// Findings about one run. Every cause is one function.
class Examination {
 public:
  Examination(const MetricsSeries& metrics, const HealthSubject& subject, const HealthThresholds& thresholds)
      : metrics_(metrics),
        subject_(subject),
        t_(thresholds),
        made_(static_cast<double>(steps_made(metrics))),
        steps_(static_cast<double>(subject.steps)) {}

  HealthFinding ci_collapse() const;
  HealthFinding density() const;
  HealthFinding weak_adversary() const;
  HealthFinding dead_subcomponents() const;
  HealthFinding ci_gradient_growth() const;
  HealthFinding saturated_sources() const;
  HealthFinding under_training() const;

 private:
  bool past(double part) const { return made_ >= part * steps_; }

  /// Median of a logged metric over the last part of the steps before `end`; nothing of too few.
  std::optional<double> recent(const std::string& name, double end) const {
    const Points& points = metrics_.of(name);
    auto [first, last] = between(points, (1.0 - t_.window) * end, end);
    if (last - points.begin() < t_.points) return std::nullopt;
    first = std::min(first, last - t_.points);
    const Values values = values_of(first, last);
    return values.empty() ? std::nullopt : std::optional(median(values));
  }
  std::optional<double> recent(const std::string& name) const { return recent(name, made_ + 1.0); }

  /// The last evaluation's.
  std::optional<MetricPoint> evaluated(const std::string& name) const {
    const Points& points = metrics_.of("eval/" + name);
    return points.empty() ? std::nullopt : std::optional(points.back());
  }
  /// Nothing, and the finding says so, where it was not measured or what it is a part of is not known.
  std::optional<double> l0(HealthFinding& finding) const {
    std::optional<double> value = recent("train/l0");
    if (const auto measured = evaluated("l0/total"); !value && measured) value = measured->value;
    if (!value) {
      finding.evidence =
          fmt::format("expected {} logged steps or an evaluation with ci_l0, found neither", t_.points);
    } else if (subject_.sites.empty() || subject_.subcomponents <= 0) {
      finding.evidence = fmt::format("L0 is {:.4g}; how many subcomponents there are is not known", *value);
      value.reset();
    }
    return value;
  }
  /// Divergence with every decomposed matrix removed: what a decomposition has to lose.
  std::optional<double> removed() const {
    const auto zero = evaluated("ce_kl/kl_zero");
    return zero && zero->value > 0.0 ? std::optional(zero->value) : std::nullopt;
  }

  const MetricsSeries& metrics_;
  const HealthSubject& subject_;
  const HealthThresholds& t_;
  double made_, steps_;
};

HealthFinding Examination::ci_collapse() const {
  HealthFinding f{.cause = "ci_collapse"};
  const std::optional<double> active = l0(f);
  if (!active) return f;
  const auto sites = static_cast<double>(subject_.sites.size());
  const bool sparse = past(t_.settled) && *active < t_.sparse * static_cast<double>(subject_.subcomponents);
  f.numbers = {{"l0", *active}, {"l0_per_site", *active / sites}};
  std::string text = fmt::format("L0 is {:.4g} a position over {} sites", *active, subject_.sites.size());
  bool collapsed = *active < t_.collapsed_l0 * sites;
  const auto masked = evaluated("ce_kl/kl_ci_masked"), unmasked = evaluated("ce_kl/kl_unmasked");
  if (const auto zero = removed(); zero && masked && unmasked) {
    text += fmt::format(", and KL with the importances as masks {:.4g}, of {:.4g} with all removed",
                        masked->value, *zero);
    f.numbers.insert(f.numbers.end(), {{"kl_ci_masked", masked->value}, {"kl_zero", *zero}});
    // Where the unmasked sum is far from the target already, the importances are not at fault.
    const bool faithful = unmasked->value < 0.5 * t_.damage * *zero;
    collapsed = collapsed || (sparse && faithful && masked->value > t_.damage * *zero);
  } else {
    const Points& counts = metrics_.of("train/l0");
    for (const std::string& label : subject_.reconstructions) {
      const Points& losses = metrics_.of("train/loss/" + label);
      const std::optional<double> loss = recent("train/loss/" + label);
      if (!loss || counts.empty() || losses.front().value <= 0.0) continue;
      const double growth = *loss / losses.front().value;
      text += fmt::format(", {} {:.4g} after {:.4g} at the start", label, *loss, losses.front().value);
      f.numbers.emplace_back(label + "_over_start", growth);
      collapsed =
          collapsed || (sparse && 3.0 * *active < counts.front().value && growth > t_.worse_than_start);
    }
  }
  Statements statements;
  statements.say(collapsed, text);
  statements.conclude(f,
                      "lower the coefficients of the minimality terms 3 to 10 times (or raise those of "
                      "reconstruction) and start again: importances at 0 get hardly any gradient back");
  return f;
}

HealthFinding Examination::density() const {
  HealthFinding f{.cause = "density"};
  const std::optional<double> active = l0(f);
  if (!active) return f;
  const double part = *active / static_cast<double>(subject_.subcomponents);
  f.numbers = {{"l0", *active}, {"part", part}};
  const std::string text = fmt::format("L0 is {:.4g} a position, {:.2g} % of {} subcomponents", *active,
                                       100.0 * part, subject_.subcomponents);
  if (!past(t_.late)) {
    f.evidence = fmt::format("{}; judged from step {:.0f} on", text, t_.late * steps_);
    return f;
  }
  Statements statements;
  statements.say(part > t_.dense, text);
  statements.conclude(f,
                      "raise the coefficient of importance_minimality 2 to 5 times, let p end lower, or "
                      "give a new run more training.steps: where most is important everywhere, little is "
                      "explained");
  return f;
}

HealthFinding Examination::weak_adversary() const {
  HealthFinding f{.cause = "weak_adversary"};
  Statements statements;
  for (const HealthSubject::Adversary& adversary : subject_.adversaries) {
    // Its own term on held-out data, where that is measured: the same routing under a fresh attack.
    std::string name = "loss/" + adversary.label;
    auto attack = evaluated(name);
    bool alike = adversary.alone;
    if (!attack && subject_.attack && adversary.output) {
      name = "pgd/" + *subject_.attack;
      attack = evaluated(name);
      alike = alike && adversary.every_site;
    }
    const double limit = (alike ? 1.0 : 2.0) * t_.attack_ratio;
    if (!attack || static_cast<double>(attack->step) < t_.settled * steps_) continue;
    const auto trained = recent("train/loss/" + adversary.label, static_cast<double>(attack->step) + 1.0);
    if (!trained || *trained <= 0.0) continue;
    const double ratio = attack->value / *trained;
    const auto zero = removed();
    const bool harmless = zero && adversary.output && attack->value < t_.harmless_attack * *zero;
    f.numbers.emplace_back(adversary.label + "_ratio", ratio);
    statements.say(
        ratio > limit && !harmless,
        fmt::format("{} is {:.4g} in training, and a fresh attack (eval/{}) reaches {:.4g}, {:.2g} "
                    "times as much",
                    adversary.label, *trained, name, attack->value, ratio));
  }
  if (statements.all.empty()) {
    f.evidence = subject_.adversaries.empty()
                     ? "no adversary trains this decomposition"
                     : fmt::format(
                           "expected {} logged steps and, past {:.0f} % of the run, an evaluation "
                           "with losses or with a pgd of about 20 steps of 0.1",
                           t_.points, 100.0 * t_.settled);
    return f;
  }
  statements.conclude(f,
                      "give the training adversary more warmup_steps, a higher learning_rate or scope "
                      "per_position, or its term a higher coefficient: what it calls unimportant is not");
  return f;
}

HealthFinding Examination::dead_subcomponents() const {
  HealthFinding f{.cause = "dead_subcomponents"};
  const auto alive = evaluated("alive/total");
  if (!alive || subject_.subcomponents <= 0) {
    f.evidence = alive ? fmt::format("{:.0f} are alive; how many there are is not known", alive->value)
                       : "expected an evaluation with alive, found none";
    return f;
  }
  const double part = alive->value / static_cast<double>(subject_.subcomponents);
  std::vector<std::string> silent;
  for (const std::string& site : subject_.sites) {
    const auto here = evaluated("alive/" + site);
    if (here && here->value == 0.0) silent.push_back(site);
  }
  f.numbers = {{"alive", alive->value}, {"part", part}, {"silent_sites", static_cast<double>(silent.size())}};
  if (subject_.targeted) {
    f.verdict = Verdict::ok;
    f.evidence = fmt::format("{:.0f} of {} subcomponents are alive: what the target rows do not need dies",
                             alive->value, subject_.subcomponents);
    return f;
  }
  Statements statements;
  statements.say(part < t_.alive, fmt::format("{:.0f} of {} subcomponents are alive, {:.3g} %", alive->value,
                                              subject_.subcomponents, 100.0 * part));
  if (!silent.empty()) {
    const std::size_t shown = std::min<std::size_t>(3, silent.size()), more = silent.size() - shown;
    silent.resize(shown);
    statements.say(true, fmt::format("not one of {}{} is alive", join_words(silent),
                                     more > 0 ? fmt::format(" and {} more sites", more) : ""));
  }
  statements.conclude(f,
                      "give these sites a smaller C, which saves memory and time, or lower the minimality "
                      "coefficients where reconstruction is bad too");
  return f;
}

HealthFinding Examination::ci_gradient_growth() const {
  HealthFinding f{.cause = "ci_gradient_growth"};
  const Points& points = metrics_.of("train/grad_norm/causal_importance");
  const auto count = static_cast<std::int64_t>(points.size()), edge = count - t_.gradient_recent;
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return values_of(points.begin() + std::max<std::int64_t>(0, begin), points.begin() + end);
  };
  if (edge < t_.gradient_points || part(edge, count).empty() ||
      part(edge - t_.gradient_running, edge).empty()) {
    f.evidence =
        fmt::format("expected {} logged steps, found {}", t_.gradient_recent + t_.gradient_points, count);
    return f;
  }
  const double now = median(part(edge, count)), running = median(part(edge - t_.gradient_running, edge));
  f.numbers = {{"norm", now}, {"running_median", running}};
  Statements statements;
  statements.say(
      now > t_.gradient_growth * running,
      fmt::format("the causal-importance function's gradient norm is {:.4g} after a running median "
                  "of {:.4g}",
                  now, running));
  statements.conclude(f,
                      "set training.gradient_clip.causal_importance to about that median or lower "
                      "training.learning_rate; with p below 1 a larger eps tames g^p near 0");
  return f;
}

HealthFinding Examination::saturated_sources() const {
  HealthFinding f{.cause = "saturated_sources"};
  const std::string prefix = "train/saturated_sources/";
  Statements statements;
  for (const std::string& name : metrics_.names(prefix)) {
    const auto part = recent(name);
    if (!part) continue;
    const std::string label = name.substr(prefix.size());
    f.numbers.emplace_back(label, *part);
    statements.say(*part > t_.saturated,
                   fmt::format("{:.3g} % of the sources of {} are at 0 or 1", 100.0 * *part, label));
  }
  if (statements.all.empty() || !past(t_.settled)) {
    f.evidence = statements.all.empty()
                     ? fmt::format("expected a persistent adversary and {} logged steps", t_.points)
                     : join_words(statements.all, "; ") + "; too early to judge";
    return f;
  }
  statements.conclude(f,
                      "lower the adversary's learning_rate, or raise its beta1 and beta2: sources that sit "
                      "at their bounds follow the batches no more");
  return f;
}

HealthFinding Examination::under_training() const {
  HealthFinding f{.cause = "under_training"};
  Statements statements;
  if (made_ > 0.0 && subject_.annealing && subject_.annealing->value.start != subject_.annealing->value.end) {
    const auto& [name, line] = *subject_.annealing;
    const double now = value_at(line, static_cast<std::int64_t>(made_), subject_.steps);
    f.numbers.emplace_back(name, now);
    if ((now - line.end) / (line.start - line.end) > t_.annealing_left) {
      statements.say(true, fmt::format("{} is {:.3g} after {:.0f} of {} steps, on its way from {:g} to {:g}",
                                       name, now, made_, subject_.steps, line.start, line.end));
    }
  }
  // Over the last two tenths of what was made.
  const auto fall = [&](const std::string& name, const std::string& label, double limit) {
    const Points& points = metrics_.of(name);
    const auto part = [&](double begin, double end) {
      const auto [first, last] = between(points, begin, end);
      return values_of(first, last);
    };
    const Values before = part((1.0 - 2.0 * t_.window) * made_, (1.0 - t_.window) * made_),
                 after = part((1.0 - t_.window) * made_, made_ + 1.0);
    const auto least = static_cast<std::size_t>(t_.points);
    if (before.size() < least || after.size() < least) return;
    const double then = median(before), now = median(after);
    if (!(then > 0.0)) return;
    f.numbers.emplace_back(label + "_fall", 1.0 - now / then);
    statements.say(1.0 - now / then > limit && now > t_.arrived * points.front().value,
                   fmt::format("{} went from {:.4g} to {:.4g} in the last {:.0f} % of the steps", label, then,
                               now, 100.0 * t_.window));
  };
  for (const std::string& label : subject_.reconstructions)
    fall("train/loss/" + label, label, t_.falling_loss);
  fall("train/l0", "L0", t_.falling_l0);
  if (statements.all.empty()) {
    f.evidence = fmt::format("expected {} logged steps in each of the last two tenths of the run", t_.points);
    return f;
  }
  statements.conclude(f, made_ < steps_
                             ? "go on to the end (vpd decompose --resume) before trusting its figures"
                             : "start a new run with more training.steps, over which p is annealed too, or "
                               "with a higher learning_rate; initialize_from lets it begin with this run's "
                               "weights (--resume takes neither change)");
  return f;
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::ok:
      return "ok";
    case Verdict::warning:
      return "warning";
    case Verdict::unknown:
      break;
  }
  return "unknown";
}

std::vector<HealthFinding> examine(const MetricsSeries& metrics, const HealthSubject& subject,
                                   const HealthThresholds& thresholds) {
  const Examination e(metrics, subject, thresholds);
  return {e.ci_collapse(),        e.density(),           e.weak_adversary(), e.dead_subcomponents(),
          e.ci_gradient_growth(), e.saturated_sources(), e.under_training()};
}

}  // namespace vpd
