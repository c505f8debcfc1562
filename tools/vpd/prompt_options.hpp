#pragma once

#include <CLI/CLI.hpp>

#include "vpd/run/audited_prompts.hpp"

namespace vpd {

/// The options that name prompts: what `audit` and `unlearn` share.
void add_prompt_options(CLI::App& command, AuditedPrompts& prompts);

}  // namespace vpd
