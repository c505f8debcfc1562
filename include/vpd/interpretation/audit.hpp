#pragma once

// Which subcomponents serve a behaviour, given examples of it.

#include <cstdint>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/edit.hpp"
#include "vpd/interpretation/prompt_importance.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/interpretation/redundancy.hpp"

namespace vpd {

/// First-order effects of taking each subcomponent out on the mean metric, all at once: float64 [Σ C]. Of the
/// target with `edits`.
at::Tensor estimated_effects(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                             Lanes& lanes, const std::vector<RankOneEdit>& edits = {},
                             const Observer& observer = {});

/// What taking one subcomponent out of the target does, prompt by prompt: change of the metric (NaN without a
/// target), Σ over its positions of the KL from the target, and KL at the last of them. Then KL at every
/// position of all prompts.
struct AblationEffects {
  std::vector<double> metric, kl, last_kl;
  std::vector<float> each_kl;
};
/// One for each column. `edits` act besides; what is compared with stays the target without them.
std::vector<AblationEffects> ablation_effects(const Decomposition& decomposition,
                                              const std::vector<AuditPrompt>& prompts,
                                              const std::vector<std::int64_t>& columns, Lanes& lanes,
                                              const Observer& observer = {},
                                              const std::vector<RankOneEdit>& edits = {});

/// Means over a prompt's positions of importance, of activation ‖U_c‖ V_cᵀ x and of its magnitude, float64
/// [prompts, Σ C].
struct PromptMeans {
  at::Tensor importance, activation, absolute_activation;
};
PromptMeans prompt_means(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                         Lanes& lanes);

/// The chance that a value of `a` is above one of `b`; ties count half.
double area_under_curve(std::vector<double> a, std::vector<double> b);

/// Added to the damage that a score divides by, in nats.
inline constexpr double audit_side_offset = 0.001;

/// Where the subcomponents come from that are taken out one by one.
enum class CandidatesFrom {
  screen,  ///< the first-order estimate
  graphs,  ///< what importances keep that are optimised for each prompt
};

struct AuditSettings {
  CandidatesFrom from = CandidatesFrom::screen;
  double graph_share = 0.7;  ///< kept in at least this part of the prompts
  PruneSettings graphs{.steps = 200, .rate = 0.03};
  std::int64_t candidates = 200;  ///< that are ablated one by one
  double against_weight = 1.0;    ///< ρ of the screen
  bool one_metric = true;         ///< refuse a set in which only some targets have a contrast
  double least_probability =
      0.01;                       ///< of the targets, in the mean: below it there is no behaviour to explain
  std::int64_t resamples = 1000;  ///< of prompts, for intervals
  std::uint64_t seed = 0;
};

/// Of each column [Σ C] the part of the prompts with a target in which optimised importances keep it.
std::vector<double> kept_shares(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                                const PruneSettings& settings, Lanes& lanes, const Observer& observer = {});
/// Columns that are kept in a large enough part of the prompts, most often kept first. Throws UsageError
/// where there are none.
std::vector<std::int64_t> graph_columns(const std::vector<double>& shares, const AuditSettings& settings);

/// Columns by what the estimates promise for the damage that they foretell, best first.
std::vector<std::int64_t> screened_columns(const at::Tensor& estimate, const at::Tensor& estimate_against,
                                           const AuditSettings& settings);

struct AuditedSubcomponent {
  std::int64_t column = 0;
  double estimate = 0.0, estimate_against = 0.0;             ///< first-order
  double effect = 0.0, effect_low = 0.0, effect_high = 0.0;  ///< exact, on the prompts of the behaviour
  double effect_in_circuit = 0.0;  ///< the same where only what is important for a prompt acts
  double side = 0.0;               ///< mean KL over all positions of the others
  double score = 0.0;              ///< -effect / (side + 0.001)
  double kl_wanted = 0.0;          ///< mean KL behind the prompts of the behaviour
  double kl_elsewhere = 0.0;       ///< 99th percentile of KL over the positions of the others
  double importance = 0.0, importance_against = 0.0;  ///< means
  double auc_importance = 0.5, auc_activation = 0.5;  ///< that they are larger for the behaviour
  std::vector<double> group_effects{};                ///< in the order of AuditResult::groups

  RedundancyCheck redundancy() const {
    return {.column = column, .in_target = effect, .in_circuit = effect_in_circuit};
  }
  /// How much more it does to the behaviour than to other text: kl_wanted / (kl_elsewhere + 1e-6).
  double specificity() const { return kl_wanted / (kl_elsewhere + 1e-6); }
};
struct AuditResult {
  double metric = 0.0, probability = 0.0;    ///< of the behaviour in the target: mean metric, mean p(target)
  std::vector<std::string> groups;           ///< that the prompts of the behaviour name
  std::vector<AuditedSubcomponent> ranking;  ///< best first: the candidates
};
/// The groups that prompts with a target name, in alphabetical order.
std::vector<std::string> groups_of(const std::vector<AuditPrompt>& prompts);
/// Of each of `groups` the mean of the values of its prompts.
std::vector<double> group_means(const std::vector<AuditPrompt>& prompts,
                                const std::vector<std::string>& groups, const std::vector<double>& values);

/// Throws UsageError where a set is empty, has a half without any target, mixes prompts with and without a
/// contrast, or both sets are the same.
void check_prompts(const PromptSplit& behaviour, const PromptSplit& against, const AuditSettings& settings);

/// Throws UsageError where the mean p(target) says that there is no behaviour.
void check_behaviour(double probability, const AuditSettings& settings);

/// Throws UsageError where a set is empty or both are the same, and where the behaviour is not there (mean
/// p(target) below 0.01).
AuditResult audit(const Decomposition& decomposition, const PromptSplit& behaviour,
                  const PromptSplit& against, const AuditSettings& settings, Lanes& lanes,
                  const Observer& observer = {});

}  // namespace vpd
