#pragma once

// What taking subcomponents out of the target does: to what the question's prompts say, and to other text.

#include <cstdint>
#include <vector>

#include "edit_source.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/run/explain.hpp"

namespace vpd {

/// The question's prompts, each with the first token of its continuation, and rows of other text.
struct QuestionPrompts {
  std::vector<AuditPrompt> asked, elsewhere;
};
/// `positions` of the background at least, where it has them: rows of `length` tokens from its end, without
/// its first `chose` rows, which removals are chosen by.
QuestionPrompts question_prompts(const std::vector<ExplainedPrompt>& prompts,
                                 const std::filesystem::path& background, std::int64_t length,
                                 std::int64_t positions, std::int64_t chose);

struct RemovalFigures {
  std::vector<double> before, after;  ///< p of each continuation's first token
  double kl_mean = 0.0, kl_99 = 0.0;  ///< from the target, over positions of other text
  std::int64_t positions = 0;
};
RemovalFigures removal_figures(const EditSource& source, const QuestionPrompts& prompts,
                               const std::vector<std::int64_t>& columns);

/// Takes columns out one by one.
std::vector<ExplainedSubcomponent> subcomponent_figures(const EditSource& source,
                                                        const QuestionPrompts& prompts,
                                                        const std::vector<std::int64_t>& columns,
                                                        const Observer& observer);

}  // namespace vpd
