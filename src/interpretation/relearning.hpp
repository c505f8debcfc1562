#pragma once

#include "vpd/interpretation/unlearn.hpp"

namespace vpd {

struct RelearnSettings {
  std::int64_t steps = 50;
  double rate = 1e-4;
  std::function<void()> each_step{};
};
/// Trains every matrix of the blocks of an altered target to say the targets of `train` again (AdamW, all
/// prompts a step, no decay), and tells how probable those of `test` are after 0, 1, 2, 5, 10, 20, 50, ...
/// steps.
RelearningCurve relearn(const Decomposition& decomposition, const Alteration& alteration,
                        const std::vector<AuditPrompt>& train, const std::vector<AuditPrompt>& test,
                        const RelearnSettings& settings, Lanes& lanes);

}  // namespace vpd
