#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/io/dataset.hpp"

namespace vpd {

/// Overrides of a run's configuration that put token files in place of its held-out rows. Where those are
/// prompts, rows are as long as those of the run's background. Throws ConfigError and DataError.
std::vector<std::string> tokens_in_place(const std::filesystem::path& run,
                                         const std::filesystem::path& tokens);
/// The same with rows of that length, in order.
std::vector<std::string> tokens_in_place(const std::filesystem::path& tokens, std::int64_t row_length);

/// Tokens that a run trains on beside its prompts, for a sentence that names other rows; "FILE" without any.
std::string background_tokens(const DataConfig& data);

/// Throws UsageError for prompts of several lengths, which are no rows to sum over. `cure`: how to name
/// others.
void require_one_length(const Dataset& data, const std::string& cure);
/// For commands that take --tokens.
void require_one_length(const Dataset& data, const DataConfig& of_run);

}  // namespace vpd
