#include "prompt_files.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "token_rows.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

bool is_token_file(const fs::path& path) { return path.extension() == ".bin" || path.extension() == ".npy"; }

std::vector<AuditPrompt> rows_of(const Dataset& data, std::int64_t most) {
  const std::int64_t count = std::min(most, data.rows().value_or(most));
  std::vector<AuditPrompt> prompts;
  for (std::int64_t r = 0; r < count; ++r) {  // one by one: prompts may be of several lengths
    const at::Tensor row = data.batch(r, 1).contiguous();
    const auto* tokens = row.const_data_ptr<std::int64_t>();
    prompts.push_back({.tokens = {tokens, tokens + row.numel()}});
  }
  return prompts;
}

PromptSplit halved(const std::vector<AuditPrompt>& prompts, const std::string& name,
                   std::vector<std::string>& warnings) {
  PromptSplit split = split_prompts(prompts);
  if (split.in_both > 0)
    warnings.push_back(
        fmt::format("{}: too few prompts to choose candidates by some and measure on others: {} of {} serve "
                    "both, and the figures are too favourable",
                    name, split.in_both, prompts.size()));
  return split;
}

}  // namespace

RunToEdit opened_for(const RunToEdit& run, const AuditedPrompts& prompts) {
  RunToEdit chosen = run;
  if (is_token_file(prompts.against)) {
    const std::vector<std::string> rows = tokens_in_place(run.run, prompts.against);
    chosen.overrides.insert(chosen.overrides.end(), rows.begin(), rows.end());
  }
  return chosen;
}

BothPrompts read_both(const AuditedPrompts& prompts, const EditSource& source,
                      std::vector<std::string>& warnings) {
  const Target& target = *source.run.decomposition.target;
  const std::int64_t vocabulary = target.vocabulary_size(), longest = target.longest_sequence();
  const auto encode_for = [&](const fs::path& path) -> EncodeText {
    return [&source, path](const std::string& text) {
      VPD_CHECK(source.tokenizer, DataError,
                "{}: expected a tokenizer.json beside the target or its tokens, found none; name one with "
                "--tokenizer, or give numbers under \"tokens\"",
                path.string());
      return source.tokenizer->encode(text);
    };
  };
  const fs::path& path = prompts.against;
  const std::vector<AuditPrompt> behaviour =
      read_prompts(prompts.behaviour, vocabulary, longest, encode_for(prompts.behaviour), warnings);
  const std::vector<AuditPrompt> against =
      path.empty() || is_token_file(path) ? rows_of(*source.run.eval, prompts.rows)
      : path.extension() == ".txt"        ? read_text_prompts(path, vocabulary, longest, encode_for(path))
                                   : read_prompts(path, vocabulary, longest, encode_for(path), warnings);
  return {halved(behaviour, prompts.behaviour.string(), warnings),
          halved(against, path.empty() ? "held-out rows" : path.string(), warnings)};
}

}  // namespace vpd
