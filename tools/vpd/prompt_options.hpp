#pragma once

#include <CLI/CLI.hpp>

#include "vpd/interpretation/audit.hpp"
#include "vpd/run/audited_prompts.hpp"

namespace vpd {

/// The options --prompt and --prompt-tokens, of which one is given; `tokens` takes numbers between commas.
void add_prompt_text_options(CLI::App& command, std::string& prompt, std::string& tokens);

/// The options that name prompts: what `audit` and `unlearn` share.
void add_prompt_options(CLI::App& command, AuditedPrompts& prompts);

/// The options that say which subcomponents are tried: `from` takes the word, which candidates_from() reads.
void add_candidate_options(CLI::App& command, AuditSettings& settings, std::string& from);
/// "screen" or "graphs".
CandidatesFrom candidates_from(const std::string& text);

}  // namespace vpd
