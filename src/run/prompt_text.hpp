#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vpd/io/dataset.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {

/// The tokens of --prompt or of --prompt-tokens, one of them, for a target that reads `input`. Throws
/// UsageError.
std::vector<std::int64_t> prompt_of(const std::string& text, const std::vector<std::int64_t>& numbers,
                                    const std::optional<Tokenizer>& tokenizer, const InputShape& input);

}  // namespace vpd
