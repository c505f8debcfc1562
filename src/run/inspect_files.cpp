#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "base/slow_work.hpp"
#include "inspect_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using config::Value;

constexpr std::int64_t shown_tokens = 48;

/// Text on one line, in double quotes.
std::string quoted(const std::string& text) {
  std::string line = "\"";
  for (const char c : text) {
    if (c == '\n')
      line += "\\n";
    else if (c == '\t')
      line += "\\t";
    else if (c == '\r')
      line += "\\r";
    else
      line += c;
  }
  return printable(line + "\"");
}

/// The table of token files, and those that could be read. Throws what the first said where none could.
std::vector<TokenShard> add_token_files(Findings& findings, const fs::path& path, const Observer& observer) {
  findings.text += fmt::format("{:>14} {:>18} {:>9} {:>9}  {:<26} {}\n", "tokens", "shape", "smallest",
                               "largest", "format", "file");
  const std::vector<fs::path> names = token_files(path);
  std::vector<TokenShard> shards;
  std::int64_t bytes = 0;
  for (const fs::path& name : names) {
    list_or_warn(findings, [&] { bytes += bytes_to_scan(shards.emplace_back(name)); });
  }
  if (shards.empty()) throw DataError(findings.warnings.front());
  const StopAsked stop = announce(observer, "reading the tokens", bytes);
  Value::List files;
  std::int64_t tokens = 0;
  for (const TokenShard& shard : shards) {
    const TokenRange range = scan_tokens(shard, stop);
    findings.text += fmt::format("{:>14} {:>18} {:>9} {:>9}  {:<26} {}\n", shard.size(),
                                 fmt::format("[{}]", fmt::join(shard.shape(), ", ")), range.smallest,
                                 range.largest, shard.format(), printable(shard.path().string()));
    tokens += shard.size();
    Value::List shape;
    for (const std::int64_t size : shard.shape()) shape.push_back(Value(size));
    files.push_back(Value(Value::Map{{"path", Value(shard.path().string())},
                                     {"format", Value(shard.format())},
                                     {"shape", Value(std::move(shape))},
                                     {"tokens", Value(shard.size())},
                                     {"smallest", Value(range.smallest)},
                                     {"largest", Value(range.largest)}}));
  }
  findings.text +=
      fmt::format("{} tokens in {} file{}\n\n", tokens, shards.size(), shards.size() == 1 ? "" : "s");
  findings.data.map()->push_back({"files", Value(std::move(files))});
  findings.data.map()->push_back({"tokens", Value(tokens)});
  return shards;
}

/// The text of tokens, U+FFFD for those that the tokenizer does not have.
std::string text_of(std::span<const std::int64_t> ids, const Tokenizer& tokenizer, Findings& findings) {
  std::string text;
  std::vector<std::string> unknown;
  while (!ids.empty()) {
    std::size_t known = 0;
    while (known < ids.size() && tokenizer.has(ids[known])) ++known;
    text += tokenizer.decode(ids.first(known));
    ids = ids.subspan(known);
    if (ids.empty()) break;
    text += "\ufffd";
    if (const std::string id = std::to_string(ids.front());
        std::find(unknown.begin(), unknown.end(), id) == unknown.end()) {
      unknown.push_back(id);
    }
    ids = ids.subspan(1);
  }
  if (!unknown.empty()) {
    findings.warnings.push_back(fmt::format(
        "the tokenizer.json beside the tokens, of {} ids, has none for {}: U+FFFD stands for them in "
        "the text; a model's padded vocabulary has more ids than its tokenizer",
        tokenizer.vocabulary_size(), join_words(unknown)));
  }
  return text;
}

}  // namespace

Findings inspect_tokens(const fs::path& path, const Observer& observer) {
  Findings findings{.kind = "tokens", .title = "tokens"};
  const std::vector<TokenShard> shards = add_token_files(findings, path, observer);
  const TokenShard& shard = shards.front();
  std::vector<std::int64_t> first(static_cast<std::size_t>(std::min(shown_tokens, shard.size())));
  shard.read(0, first);
  findings.text += fmt::format("first tokens: {}\n", fmt::join(first, " "));
  Value::List ids;
  for (const std::int64_t id : first) ids.push_back(Value(id));
  findings.data.map()->push_back({"first_tokens", Value(std::move(ids))});
  list_or_warn(findings, [&] {
    const fs::path beside = shard.path().parent_path() / "tokenizer.json";
    if (!fs::exists(beside)) return;
    const std::string text = text_of(first, Tokenizer::load(beside), findings);
    findings.text += fmt::format("as text: {}\n", quoted(text));
    findings.data.map()->push_back({"first_text", Value(text)});
  });
  return findings;
}

Findings inspect_tokenizer(const fs::path& path, const Observer&) {
  Findings findings{.kind = "tokenizer", .title = "a byte-level BPE tokenizer"};
  const Tokenizer tokenizer = Tokenizer::load(path);
  findings.text += fmt::format("vocabulary: {} ids\n", tokenizer.vocabulary_size());
  findings.data.map()->push_back({"vocabulary_size", Value(tokenizer.vocabulary_size())});
  const std::string sentence = "In the beginning, 12 models were trained.";
  try {
    const std::vector<std::int64_t> ids = tokenizer.encode(sentence);
    std::vector<std::string> pieces;
    for (const std::int64_t id : ids) pieces.push_back(quoted(tokenizer.token_text(id)));
    findings.text +=
        fmt::format("{} is {} tokens: {}\n", quoted(sentence), ids.size(), join_words(pieces, " "));
    findings.data.map()->push_back({"encodes", Value(true)});
  } catch (const DataError& error) {
    findings.text += fmt::format("text cannot be turned into tokens: {}\n", error.what());
    findings.data.map()->push_back({"encodes", Value(false)});
  }
  return findings;
}

}  // namespace vpd
