#pragma once

// Taking a behaviour out of a target with little damage elsewhere, and what plain baselines do on the same
// prompts.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "vpd/interpretation/audit.hpp"

namespace vpd {

/// The baselines that a set of subcomponents is compared with.
enum class Baseline {
  random,           ///< sets of the same sites and density
  activation,       ///< the largest differences of mean |activation| between the two sets of prompts
  importance,       ///< the largest differences of mean importance
  estimate,         ///< the first-order estimate alone
  graphs,           ///< those that importances keep in most prompts, optimised for each without an adversary
  mean_difference,  ///< the residual stream without the direction that tells the sets apart
  rank_1,           ///< an update of that rank of each matrix that the set edits, fitted to the same effect
  rank_4,
};
std::string name_of(Baseline baseline);
std::vector<Baseline> all_baselines();
/// "random,rank_1", "all" or "none". Throws UsageError.
std::vector<Baseline> parse_baselines(const std::string& text);

struct UnlearnSettings {
  AuditSettings audit{};
  double budget = 0.02;  ///< of mean KL on the prompts against, in nats
  double enough = 0.0;   ///< fall of the mean metric, in nats, that ends the choice; 0: only the budget does
  double stay = 0.0;     ///< change, in nats, that is allowed of the metric of any prompt against that has a
                         ///< target; 0: only the budget counts there
  std::int64_t most = 16;      ///< subcomponents in the set
  std::int64_t controls = 20;  ///< random sets
  std::vector<Baseline> baselines = all_baselines();
  std::int64_t fit_steps = 100;    ///< of each low-rank update
  std::int64_t relearn_steps = 0;  ///< of training on the prompts that the set was chosen by; 0: none
  double relearn_rate = 1e-4;      ///< of AdamW
};

/// What an altered target does on the prompts that figures are from.
struct CurvePoint {
  std::string label;         ///< a number of subcomponents, a strength, a part of the effect
  double effect = 0.0;       ///< change of the mean metric; below 0 where the behaviour falls
  double probability = 0.0;  ///< mean p(target)
  double side = 0.0;         ///< mean KL over all positions of the prompts against
  double stayed = 0.0;       ///< largest change of the metric of one of them; NaN where none has a target
};
/// One way of taking the behaviour out, with growing strength.
struct UnlearnCurve {
  std::string name, description;
  std::vector<CurvePoint> points;

  /// The largest fall of the metric at a damage of at most `side`; 0 where no point is.
  double fall_within(double side) const;
  /// Its mean over all damages from 0 to `budget`.
  double area(double budget) const;
};

/// p(target), as a training on the prompts that the set was chosen by goes on.
struct RelearningCurve {
  std::string name;
  std::vector<std::int64_t> steps;
  std::vector<double> probability;
};

struct GroupFigures {
  std::string name;
  std::int64_t prompts = 0;
  double metric_before = 0.0, metric_after = 0.0, p_before = 0.0, p_after = 0.0;
};

struct UnlearnResult {
  std::vector<std::int64_t> set;           ///< columns, in the order in which they were chosen
  double metric = 0.0, probability = 0.0;  ///< of the behaviour in the target
  double effect = 0.0, effect_low = 0.0, effect_high = 0.0;  ///< of the whole set
  double probability_after = 0.0;
  double side = 0.0, side_low = 0.0, side_high = 0.0, side_99 = 0.0;  ///< mean KL, its interval over prompts,
                                                                      ///< 99th percentile over positions
  double stayed = 0.0;                                                ///< as that of a point
  std::vector<GroupFigures> groups;
  std::vector<UnlearnCurve> curves;         ///< the chosen set first
  double circuit_probability = 0.0;         ///< mean p(target) where only what is important acts
  std::vector<RedundancyCheck> redundancy;  ///< of each member of the set
  std::vector<RelearningCurve> relearning;
  std::vector<std::string> warnings;
};

/// Chooses subcomponents one after the other, by what they add to the fall of the metric for the damage that
/// they add, on the half of the prompts that chooses, until the damage reaches the budget or nothing adds
/// twice its standard error; then measures that set and the baselines on the other half. `evidence`: for
/// random sets; may be null where they are not asked for. Throws UsageError as audit() does.
UnlearnResult unlearn(const Decomposition& decomposition, const PromptSplit& behaviour,
                      const PromptSplit& against, const UnlearnSettings& settings, const Evidence* evidence,
                      Lanes& lanes, const Observer& observer = {});

}  // namespace vpd
