#pragma once

// Losses of an altered target on prompts, which gradients can be taken of.

#include <utility>

#include "vpd/interpretation/prompt_set.hpp"

namespace vpd {

/// Σ of the metric over the prompts of a batch that have a target, and how many these are. `start`: where the
/// passes begin, which alters nothing before it.
std::pair<at::Tensor, std::int64_t> summed_metric(const Decomposition& decomposition,
                                                  const PromptBatch& batch,
                                                  const std::vector<AuditPrompt>& prompts,
                                                  const Alteration& alteration, const PassStart& start = {});
/// Σ over all positions of the KL from the target.
at::Tensor summed_kl(const Decomposition& decomposition, const PromptBatch& batch,
                     const Alteration& alteration, const PassStart& start = {});

}  // namespace vpd
