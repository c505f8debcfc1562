#pragma once

// Which subcomponents, at which positions of one prompt, its outputs need: importances that are optimised for
// this prompt under random and adversarial masks, and what they withstand.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/stop.hpp"
#include "vpd/decomposition/decomposition.hpp"

namespace vpd {

/// Positions of a prompt: tokens [T], or features [n], which have one.
inline std::int64_t positions_of(const at::Tensor& prompt) {
  return prompt.is_floating_point() ? 1 : prompt.size(0);
}

/// An output that is to be explained.
struct OutputTarget {
  std::int64_t at = 0;  ///< position of the prompt
  /// Said there; nothing: all that the target says there, by KL. Of a target of features an output, or all.
  std::optional<std::int64_t> token{};
};

/// Which masks the optimisation withstands: the fewer, the fewer subcomponents are kept, and the less it
/// means.
enum class PruneMasks { adversarial, stochastic, importance };
std::string name_of(PruneMasks masks);
/// Throws UsageError.
PruneMasks parse_prune_masks(const std::string& text);

struct PruneSettings {
  std::int64_t steps = 2000;
  double rate = 0.01;        ///< of AdamW, without decay
  bool cosine = true;        ///< after 1 % of the steps' linear warm-up down to 0; else constant
  double coefficient = 0.1;  ///< λ of the penalty
  double p = 0.3;            ///< of the penalty (g + 1e-12)^p
  PruneMasks masks = PruneMasks::adversarial;
  std::int64_t ascents = 4;  ///< of the adversary in each step, from random sources
  double ascent_rate = 1.0;  ///< their size, times the gradient's sign
  bool random_rest = true;  ///< sources off the alive set and Δ in the adversary's passes are random; else 0
  std::uint64_t seed = 0;
};

/// Sources in [0, 1) of one prompt [T, Σ C], and Δ-masks [T, L].
struct DrawnSources01 {
  at::Tensor columns, delta;
};
/// Where an optimisation's random numbers come from.
class PruneDraws {
 public:
  virtual ~PruneDraws() = default;
  virtual DrawnSources01 stochastic(std::int64_t step) const = 0;
  /// The adversary's first sources.
  virtual at::Tensor start(std::int64_t step) const = 0;
  /// Off the alive set, and Δ: for each ascent and the pass after the last.
  virtual DrawnSources01 rest(std::int64_t step, std::int64_t ascent) const = 0;
};
/// Philox, by the seed.
std::unique_ptr<PruneDraws> random_prune_draws(const Decomposition& decomposition, std::int64_t T,
                                               const PruneSettings& settings);

/// One step, for whoever follows them.
struct PruneStep {
  std::int64_t number = 0;
  double stochastic = 0.0, adversarial = 0.0, penalty = 0.0,
         total = 0.0;   ///< before the update; 0: not in use
  at::Tensor sources;   ///< [T, Σ C], after the ascents, 0 off the alive set
  at::Tensor gradient;  ///< of z
  at::Tensor z;         ///< after the update
};

struct PromptImportance {
  at::Tensor before;                 ///< wide [T, Σ C]: what the causal-importance function gives
  at::Tensor after;                  ///< after the optimisation; 0 off the alive set
  at::Tensor alive_entries;          ///< bool [T, Σ C]: above 0 before, up to the last target
  std::int64_t alive = 0, kept = 0;  ///< entries above 0, before (up to the last target) and after

  /// The columns that are kept at some position, ascending.
  std::vector<std::int64_t> columns() const;
};

/// D: mean over targets of -ln p(token), or of the KL from the target, of logits [T, V]; of features (mse)
/// the squared error of that output, or of all, over the sum of all outputs' squares. On the graph of
/// `output`.
at::Tensor output_loss(const at::Tensor& clean, const at::Tensor& output,
                       const std::vector<OutputTarget>& targets, Divergence divergence = Divergence::kl);

/// Optimises importances of the entries that the causal-importance function leaves above 0 (the alive set)
/// for less of them at little loss: ½ D(random masks) + ½ D(adversarial masks) + λ / T Σ (g + 1e-12)^p. With
/// stochastic masks alone D of these, with none D of the importances themselves. input: tokens int64 [T], or
/// features [n]. Throws Interrupted; UsageError where a target lies behind the prompt or nothing is alive.
PromptImportance optimise_importance(const Decomposition& decomposition, const at::Tensor& input,
                                     const std::vector<OutputTarget>& targets, const PruneSettings& settings,
                                     const StopAsked& stop = {}, const PruneDraws* draws = nullptr,
                                     const std::function<void(const PruneStep&)>& follow = {});

/// What the outputs are under some masks.
struct MaskedOutputs {
  double D = 0.0, D_spread = 0.0;  ///< of several: their mean (the worst, of an adversary) and spread
  double p = 0.0, p_spread = 0.0;  ///< likewise of the first target's token; NaN where it is a KL
};
/// Importances of a prompt, judged.
struct PruneVerdict {
  MaskedOutputs target, unmasked, importance, rounded, stochastic, adversarial_short, adversarial_long,
      zeroed;
  bool faithful = false;  ///< optimised against an adversary, and worse than the target by no more than the
                          ///< tolerance under the worst of them
  std::string reason;     ///< why not
};
struct VerdictSettings {
  double tolerance = 1.0;  ///< of D: nats, or a part of squares
  std::int64_t samples = 32, starts = 3;
  std::uint64_t seed = 0;
};
PruneVerdict judge_importance(const Decomposition& decomposition, const at::Tensor& input,
                              const std::vector<OutputTarget>& targets, const PromptImportance& pruned,
                              PruneMasks masks, const VerdictSettings& settings = {},
                              const StopAsked& stop = {});

}  // namespace vpd
