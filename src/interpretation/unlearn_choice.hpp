#pragma once

#include <cstdint>
#include <vector>

#include "vpd/interpretation/unlearn.hpp"

namespace vpd {

/// The greedy set of unlearn(), and the mean change of the metric that it makes on the prompts it is chosen
/// by.
struct ChosenSet {
  std::vector<std::int64_t> columns;
  double effect = 0.0;
};
ChosenSet choose_set(const Decomposition& decomposition, const std::vector<AuditPrompt>& behaviour,
                     const std::vector<AuditPrompt>& against, const UnlearnSettings& settings, Lanes& lanes,
                     const Observer& observer);

}  // namespace vpd
