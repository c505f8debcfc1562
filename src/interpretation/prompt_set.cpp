// Examples of a behaviour, as files have them.

#include "vpd/interpretation/prompt_set.hpp"

#include <sstream>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/philox.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

void check_tokens(const std::vector<std::int64_t>& tokens, std::int64_t vocabulary,
                  const std::string& where) {
  for (const std::int64_t token : tokens)
    VPD_CHECK(token >= 0 && token < vocabulary, DataError,
              "{}: expected tokens below {}, which the target knows, found {}", where, vocabulary, token);
}

/// Calls visit(line, "FILE: line N") for each that is not empty.
void each_line(const std::filesystem::path& path,
               const std::function<void(const std::string& line, const std::string& where)>& visit) {
  std::istringstream lines(read_text(path));
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string::npos)
      visit(line, fmt::format("{}: line {}", path.string(), number));
  }
}

}  // namespace

std::vector<AuditPrompt> read_prompts(const std::filesystem::path& path, std::int64_t vocabulary,
                                      std::int64_t longest, const EncodeText& encode,
                                      std::vector<std::string>& warnings) {
  std::vector<AuditPrompt> prompts;
  each_line(path, [&](const std::string& text, const std::string& where) {
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    VPD_CHECK(line.is_object(), DataError,
              "{}: expected a JSON object such as {{\"prompt\": \"The\", \"target\": \" king\"}}, found "
              "something else",
              where);
    AuditPrompt prompt;
    if (line.contains("tokens")) {
      VPD_CHECK(line["tokens"].is_array(), DataError,
                "{}: expected numbers under \"tokens\", found something else", where);
      for (const Json& token : line["tokens"]) {
        VPD_CHECK(token.is_number_integer(), DataError,
                  "{}: expected whole numbers under \"tokens\", found something else", where);
        prompt.tokens.push_back(token.get<std::int64_t>());
      }
    } else {
      VPD_CHECK(line.contains("prompt") && line["prompt"].is_string(), DataError,
                "{}: expected text under \"prompt\", or numbers under \"tokens\", found neither", where);
      prompt.tokens = encode(line["prompt"].get<std::string>());
    }
    VPD_CHECK(!prompt.tokens.empty() && static_cast<std::int64_t>(prompt.tokens.size()) <= longest, DataError,
              "{}: expected a prompt of 1 to {} tokens, found {}", where, longest, prompt.tokens.size());
    const auto one = [&](const char* name) -> std::optional<std::int64_t> {
      if (!line.contains(name) || line[name].is_null()) return std::nullopt;
      if (line[name].is_number_integer()) return line[name].get<std::int64_t>();
      VPD_CHECK(line[name].is_string(), DataError,
                "{}: expected text or a token's number under \"{}\", found something else", where, name);
      const std::vector<std::int64_t> ids = encode(line[name].get<std::string>());
      VPD_CHECK(!ids.empty(), DataError, "{}: expected a token under \"{}\", found an empty text", where,
                name);
      if (ids.size() > 1)
        warnings.push_back(fmt::format("{}: {} under \"{}\" is {} tokens: the first one counts", where,
                                       quote_foreign(line[name].get<std::string>()), name, ids.size()));
      return ids[0];
    };
    prompt.target = one("target");
    prompt.contrast = one("contrast");
    VPD_CHECK(prompt.target || !prompt.contrast, DataError,
              "{}: expected a target beside the contrast, found none", where);
    if (line.contains("group") && line["group"].is_string()) prompt.group = line["group"].get<std::string>();
    std::vector<std::int64_t> all = prompt.tokens;
    for (const auto& token : {prompt.target, prompt.contrast})
      if (token) all.push_back(*token);
    check_tokens(all, vocabulary, where);
    prompts.push_back(std::move(prompt));
  });
  VPD_CHECK(!prompts.empty(), DataError, "{}: expected prompts, one a line, found none", path.string());
  return prompts;
}

std::vector<AuditPrompt> read_text_prompts(const std::filesystem::path& path, std::int64_t vocabulary,
                                           std::int64_t longest, const EncodeText& encode) {
  std::vector<AuditPrompt> prompts;
  each_line(path, [&](const std::string& text, const std::string& where) {
    AuditPrompt prompt{.tokens = encode(text)};
    if (static_cast<std::int64_t>(prompt.tokens.size()) > longest)
      prompt.tokens.resize(static_cast<std::size_t>(longest));
    check_tokens(prompt.tokens, vocabulary, where);
    if (!prompt.tokens.empty()) prompts.push_back(std::move(prompt));
  });
  VPD_CHECK(!prompts.empty(), DataError, "{}: expected text, found none", path.string());
  return prompts;
}

PromptSplit split_prompts(const std::vector<AuditPrompt>& prompts) {
  PromptSplit split;
  for (const bool with_target : {true, false}) {
    std::vector<AuditPrompt> all, select, report;
    for (const AuditPrompt& prompt : prompts) {
      if (prompt.target.has_value() != with_target) continue;
      std::uint64_t hash = 0;
      for (const std::int64_t token : prompt.tokens)
        hash = mix_bits(hash ^ static_cast<std::uint64_t>(token));
      all.push_back(prompt);
      (hash % 2 == 0 ? select : report).push_back(prompt);
    }
    if (select.size() < 2 || report.size() < 2) {
      split.in_both += static_cast<std::int64_t>(all.size());
      select = report = all;
    }
    split.select.insert(split.select.end(), select.begin(), select.end());
    split.report.insert(split.report.end(), report.begin(), report.end());
  }
  return split;
}

}  // namespace vpd
