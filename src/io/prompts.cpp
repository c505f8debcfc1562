#include "vpd/io/prompts.hpp"

#include <algorithm>
#include <sstream>

#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::int64_t> tokens_of(const Json& line, const std::string& where,
                                    const std::optional<Tokenizer>& tokenizer, const PromptsData& config) {
  VPD_CHECK(
      line.is_object() && (line.contains("tokens") || line.contains("prompt")), DataError,
      R"({}: expected an object such as {{"prompt": "The"}} or {{"tokens": [5, 8]}}, found another thing)",
      where);
  if (line.contains("tokens")) {
    const Json& tokens = line["tokens"];
    const bool numbers = tokens.is_array() && std::all_of(tokens.begin(), tokens.end(), [](const Json& id) {
                           return id.is_number_integer();
                         });
    VPD_CHECK(numbers, DataError, R"({}: expected whole numbers under "tokens", found another thing)", where);
    return tokens.get<std::vector<std::int64_t>>();
  }
  VPD_CHECK(line["prompt"].is_string(), DataError, R"({}: expected text under "prompt", found another thing)",
            where);
  VPD_CHECK(
      tokenizer, ConfigError,
      "{}: expected tokens, or a tokenizer.json for text beside the target, found neither: name one with "
      "`tokenizer` beside path {}",
      where, config.path.string());
  return tokenizer->encode(line["prompt"].get<std::string>());
}

}  // namespace

PromptRows::PromptRows(const PromptsData& config, std::int64_t vocabulary, std::uint64_t seed,
                       std::int64_t rows_a_step, const std::string& where)
    : config_(config), rows_a_step_(rows_a_step), key_(make_key(seed, RandomPurpose::prompt_rows, 0)) {
  std::optional<Tokenizer> tokenizer;
  if (config.tokenizer) tokenizer = Tokenizer::load(*config.tokenizer);
  std::istringstream lines(read_text(config.path));
  std::int64_t number = 0;
  for (std::string text; std::getline(lines, text);) {
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string at = fmt::format("{}: line {}", config.path.string(), number);
    std::vector<std::int64_t> tokens =
        tokens_of(Json::parse(text, nullptr, /*allow_exceptions=*/false), at, tokenizer, config);
    VPD_CHECK(!tokens.empty() && static_cast<std::int64_t>(tokens.size()) <= config.sequence_length,
              DataError, "{}: expected a prompt of 1 to {} tokens ({}.sequence_length), found {}", at,
              config.sequence_length, where, tokens.size());
    for (const std::int64_t token : tokens)
      VPD_CHECK(token >= 0 && token < vocabulary, DataError,
                "{}: expected tokens below {}, which the target knows, found {}", at, vocabulary, token);
    sorted_.push_back(std::move(tokens));
  }
  VPD_CHECK(!sorted_.empty(), DataError, "{}: expected a prompt a line, found none", config.path.string());
  std::stable_sort(sorted_.begin(), sorted_.end(),
                   [](const auto& a, const auto& b) { return a.size() < b.size(); });
}

PromptRows::Group PromptRows::group_of(std::size_t i) const {
  const auto [first, end] =
      std::equal_range(sorted_.begin(), sorted_.end(), sorted_[i],
                       [](const auto& a, const auto& b) { return a.size() < b.size(); });
  return {static_cast<std::size_t>(first - sorted_.begin()), static_cast<std::size_t>(end - first)};
}

std::int64_t PromptRows::rows_alike(std::int64_t position) const {
  if (rows_a_step_ > 0) return rows_a_step_ - position % rows_a_step_;
  const Group group = group_of(static_cast<std::size_t>(position));
  return static_cast<std::int64_t>(group.first + group.count) - position;
}

std::optional<std::int64_t> PromptRows::rows() const {
  if (rows_a_step_ > 0) return std::nullopt;  // over and over
  return static_cast<std::int64_t>(sorted_.size());
}

at::Tensor PromptRows::batch(std::int64_t position, std::int64_t count) const {
  const std::int64_t there = rows().value_or(position + count);
  VPD_CHECK(position >= 0 && count >= 1 && position + count <= there && count <= rows_alike(position),
            UsageError,
            "prompts: expected rows of one length, which {} from row {} on have, found the wish for {}",
            rows_alike(position), position, count);
  auto first = static_cast<std::size_t>(position), among = static_cast<std::size_t>(count);
  std::size_t begin = first;
  if (rows_a_step_ > 0) {
    const auto step = static_cast<std::uint64_t>(position / rows_a_step_);
    std::uint32_t words[4];
    random_words(key_, 0, step, 0, words);
    const auto below = [](std::uint32_t word, std::size_t n) {
      return static_cast<std::size_t>(static_cast<std::uint64_t>(word) * n >> 32);
    };
    const Group group = group_of(below(words[0], sorted_.size()));
    begin = group.first, among = group.count;
    first = below(words[1], group.count) + static_cast<std::size_t>(position % rows_a_step_);
  } else {
    first = 0;
  }
  const auto T = static_cast<std::int64_t>(sorted_[begin].size());
  at::Tensor rows = at::empty({count, T}, at::TensorOptions().dtype(at::kLong).device(at::kCPU));
  auto* to = rows.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::vector<std::int64_t>& prompt = sorted_[begin + (first + static_cast<std::size_t>(i)) % among];
    std::copy(prompt.begin(), prompt.end(), to + i * T);
  }
  return rows;
}

std::string PromptRows::describe() const {
  const std::string lengths = one_length()
                                  ? fmt::format("{}", sorted_.back().size())
                                  : fmt::format("{} to {}", sorted_.front().size(), sorted_.back().size());
  return fmt::format("{} prompt{} of {} tokens", sorted_.size(), sorted_.size() == 1 ? "" : "s", lengths);
}

}  // namespace vpd
