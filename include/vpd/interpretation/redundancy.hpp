#pragma once

// Whether something outside the circuit makes up for a subcomponent: the same ablation in the whole target,
// and where only what is important for the prompt acts.

#include <cstdint>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/prompt_set.hpp"

namespace vpd {

/// Where only subcomponents act that are important for the prompt (masks 1 where g > 0, Δ-mask 0).
struct CircuitEffects {
  std::vector<double> probability;          ///< of each prompt's target; NaN without one
  std::vector<std::vector<double>> metric;  ///< of each column, prompt by prompt, its change of the metric
};
CircuitEffects circuit_effects(const Decomposition& decomposition, const std::vector<AuditPrompt>& prompts,
                               const std::vector<std::int64_t>& columns, Lanes& lanes,
                               const Observer& observer = {});

/// Taking one subcomponent out changes the metric (ln p, or a difference of logits) by so much.
struct RedundancyCheck {
  std::int64_t column = 0;
  double in_target = 0.0, in_circuit = 0.0;

  /// It counts in the circuit, and hardly in the target: something that is not important for these prompts
  /// makes up for it. The thresholds are those of targeted decomposition's paper.
  bool made_up_for() const { return in_circuit < -0.2 && in_target > -0.1; }
};

}  // namespace vpd
