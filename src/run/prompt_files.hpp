#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "edit_source.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/run/audited_prompts.hpp"

namespace vpd {

/// The run, opened with the rows of a file of tokens where the prompts against are one.
RunToEdit opened_for(const RunToEdit& run, const AuditedPrompts& prompts);

struct BothPrompts {
  PromptSplit behaviour, against;
};
/// Throws DataError; `warnings` takes what was cut or could not be halved.
BothPrompts read_both(const AuditedPrompts& prompts, const EditSource& source,
                      std::vector<std::string>& warnings);

}  // namespace vpd
