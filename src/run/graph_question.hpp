#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "edit_source.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {

/// What a graph is asked about: a prompt, and what is said behind it.
struct GraphQuestion {
  at::Tensor input;  ///< tokens [T], or features [n]
  std::vector<OutputTarget> targets;
  std::vector<std::int64_t> said;  ///< by the target itself, of which all but the last end the input
};
/// Throws UsageError for a prompt or targets that are none of this target, and Interrupted.
GraphQuestion question_of(const GraphOptions& options, const EditSource& source,
                          std::vector<std::string>& warnings, const Observer& observer);

}  // namespace vpd
