#pragma once

// Which subcomponents serve a behaviour, given examples of it.

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

/// A beginning, and what is to come next.
struct AuditPrompt {
  std::vector<std::int64_t> tokens;
  std::optional<std::int64_t> target{};    ///< without one its rows count for damage alone
  std::optional<std::int64_t> contrast{};  ///< what could come instead
  std::string group{};
};
/// JSON lines: {"prompt": text or "tokens": [numbers], "target": " Paris", "contrast": " London"?, "group"?};
/// a target of several tokens stands for its first. `encode` turns text into tokens; `warnings` takes a
/// sentence for each of these. Throws DataError naming file and line.
std::vector<AuditPrompt> read_prompts(
    const std::filesystem::path& path, std::int64_t vocabulary, std::int64_t longest,
    const std::function<std::vector<std::int64_t>(const std::string&)>& encode,
    std::vector<std::string>& warnings);

/// ln p(target) behind the prompt, or the logit of the target less that of the contrast; logits [V] of the
/// last position.
double prompt_metric(const at::Tensor& logits, const AuditPrompt& prompt);

/// First-order effects of taking each subcomponent out on the mean metric, all at once: float64 [Σ C].
at::Tensor estimated_effects(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                             Lanes& lanes);

/// What taking one subcomponent out of the target does: change of the metric of each prompt [prompts] (NaN
/// without a target), and Σ over its positions of the KL from the target.
struct AblationEffects {
  std::vector<double> metric, kl;
};
/// One for each column.
std::vector<AblationEffects> ablation_effects(const Decomposition& decomposition,
                                              const std::vector<AuditPrompt>& prompts,
                                              const std::vector<std::int64_t>& columns, Lanes& lanes,
                                              const Observer& observer = {});

/// Means over a prompt's positions of importance and of activation ‖U_c‖ V_cᵀ x, float64 [prompts, Σ C].
struct PromptMeans {
  at::Tensor importance, activation;
};
PromptMeans prompt_means(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                         Lanes& lanes);

/// The chance that a value of `a` is above one of `b`; ties count half.
double area_under_curve(std::vector<double> a, std::vector<double> b);

struct AuditSettings {
  std::int64_t candidates = 200;  ///< that are ablated one by one
  double against_weight = 1.0;    ///< ρ of the screen
  bool one_metric = true;         ///< refuse a set in which only some targets have a contrast
  double least_probability =
      0.01;                       ///< of the targets, in the mean: below it there is no behaviour to explain
  std::int64_t resamples = 1000;  ///< of prompts, for intervals
  std::uint64_t seed = 0;
};

struct AuditedSubcomponent {
  std::int64_t column = 0;
  double estimate = 0.0, estimate_against = 0.0;             ///< first-order
  double effect = 0.0, effect_low = 0.0, effect_high = 0.0;  ///< exact, on the prompts of the behaviour
  double side = 0.0;                                         ///< mean KL over all positions of the others
  double score = 0.0;                                        ///< -effect / (side + 0.001)
  double importance = 0.0, importance_against = 0.0;         ///< means
  double auc_importance = 0.5, auc_activation = 0.5;         ///< that they are larger for the behaviour
};
struct AuditResult {
  double metric = 0.0, probability = 0.0;    ///< of the behaviour in the target: mean metric, mean p(target)
  std::vector<AuditedSubcomponent> ranking;  ///< best first: the candidates
};
/// Prompts that candidates are chosen by, and others that every figure is from: a prompt is in the one or the
/// other by a hash of its tokens. Of fewer than four both are all of them.
struct PromptSplit {
  std::vector<AuditPrompt> select, report;
  bool halved = true;
};
PromptSplit split_prompts(const std::vector<AuditPrompt>& prompts);

/// Throws UsageError where a set is empty or both are the same, and where the behaviour is not there (mean
/// p(target) below 0.01).
AuditResult audit(const Decomposition& decomposition, const PromptSplit& behaviour,
                  const PromptSplit& against, const AuditSettings& settings, Lanes& lanes,
                  const Observer& observer = {});

}  // namespace vpd
