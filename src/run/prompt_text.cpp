#include "prompt_text.hpp"

#include "vpd/base/error.hpp"

namespace vpd {

std::vector<std::int64_t> prompt_of(const std::string& text, const std::vector<std::int64_t>& numbers,
                                    const std::optional<Tokenizer>& tokenizer, const InputShape& input) {
  VPD_CHECK(text.empty() != numbers.empty(), UsageError, "expected --prompt or --prompt-tokens, found {}",
            text.empty() ? "neither" : "both");
  std::vector<std::int64_t> tokens = numbers;
  if (tokens.empty()) {
    VPD_CHECK(
        tokenizer, UsageError,
        "--prompt: expected a tokenizer.json beside the target or its tokens, found none; name one with "
        "--tokenizer, or give --prompt-tokens");
    tokens = tokenizer->encode(text);
  }
  for (const std::int64_t token : tokens)
    VPD_CHECK(token >= 0 && token < input.vocabulary, UsageError,
              "the prompt: expected tokens below {}, which the target knows, found {}", input.vocabulary,
              token);
  VPD_CHECK(!tokens.empty() && static_cast<std::int64_t>(tokens.size()) <= input.longest, UsageError,
            "the prompt: expected 1 to {} tokens, found {}", input.longest, tokens.size());
  return tokens;
}

}  // namespace vpd
