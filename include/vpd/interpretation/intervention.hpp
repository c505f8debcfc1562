#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "vpd/base/stop.hpp"
#include "vpd/interpretation/edit.hpp"

namespace vpd {

/// In which model edits are made. In all but `target` an edit carries the mask of its subcomponent, so that
/// taking one out is a mask of 0 there.
enum class EditContext {
  target,       ///< the target itself, Δ and all: what a change of the weights would do
  components,   ///< Σ m U V with masks 1 where g > 0, else 0, without Δ
  stochastic,   ///< random masks m = g + (1 - g) r, r ~ U(0, 1), and a random Δ-mask
  adversarial,  ///< masks that an attack chose after the edited subcomponents' g was set to 0
  keep_only,    ///< masks 1 for listed subcomponents, else 0, without Δ
};
std::string name_of(EditContext context);
/// Throws UsageError.
EditContext parse_context(const std::string& text);

/// A subcomponent, everywhere or at one position.
struct KeptNode {
  std::int64_t column = 0;
  std::optional<std::int64_t> position{};
};

struct InterventionSettings {
  EditContext context = EditContext::target;
  std::vector<KeptNode> kept{};    ///< of keep_only
  std::int64_t attack_steps = 20;  ///< of adversarial
  double attack_step_size = 0.1;
  std::uint64_t seed = 0;  ///< of random masks and attacks
};

/// Logits [B T, V] of the target and of the edited model on tokens int64 [B, T].
struct Intervened {
  at::Tensor target, edited;
  at::Tensor importance;  ///< [B T, Σ C], of the target's own pass; undefined where nobody asked for it
};
Intervened intervene(const Decomposition& decomposition, const at::Tensor& tokens,
                     const std::vector<RankOneEdit>& edits, const InterventionSettings& settings = {},
                     bool want_importance = false);

/// KL(target ‖ edited) of each position, float64 [N].
at::Tensor token_divergence(const at::Tensor& target, const at::Tensor& edited);

struct GenerationSettings {
  std::int64_t tokens = 40;
  double temperature = 0.0;  ///< 0: the most probable token
  double top_p = 1.0;        ///< of the most probable tokens, as many as have that probability together
  std::uint64_t seed = 0;
};
/// Goes on after `prompt`. Of an edited model the whole row is computed again for each token, since
/// importances look at all of it. The token at position t of sample k hangs on a draw of (seed, k, t), which
/// the target, the edited one and controls share. Ends at the target's longest row. Throws Interrupted.
std::vector<std::int64_t> generate(const Decomposition& decomposition,
                                   const std::vector<std::int64_t>& prompt,
                                   const std::vector<RankOneEdit>& edits,
                                   const InterventionSettings& settings, const GenerationSettings& generation,
                                   std::int64_t sample, const StopAsked& stop = {});

}  // namespace vpd
