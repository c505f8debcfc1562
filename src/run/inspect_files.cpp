#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "inspect_kinds.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/run.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/io/token_shard.hpp"
#include "vpd/io/tokenizer.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using config::Value;

constexpr std::int64_t shown_tokens = 48;

/// The tokenizer.json beside token files, if there is one.
std::optional<Tokenizer> tokenizer_beside(const fs::path& path) {
  const fs::path directory = fs::is_directory(path) ? path : path.parent_path();
  if (!fs::exists(directory / "tokenizer.json")) return std::nullopt;
  return Tokenizer::load(directory / "tokenizer.json");
}

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
  return line + "\"";
}

/// The last that is complete: a process that was killed, or is at work, leaves half a line behind it.
std::string last_line(const fs::path& path) {
  std::istringstream lines(read_text(path));
  std::string last;
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    if (!line.empty()) last = line;
  }
  return last;
}

/// What reads a file that vpd itself wrote: damage there is not the configuration's.
template <class Read>
Value as_data(const Read& read) {
  try {
    return read();
  } catch (const ConfigError& error) {
    throw DataError(error.what());
  }
}

/// A map of numbers as a table of two columns.
void add_numbers(Findings& findings, const Value& map) {
  std::size_t widest = 0;
  for (const config::Entry& entry : *map.map()) widest = std::max(widest, entry.key.size());
  for (const config::Entry& entry : *map.map()) {
    findings.text += fmt::format("  {:<{}}  {}\n", entry.key, widest, config::to_yaml_line(entry.value));
  }
}

}  // namespace

Findings inspect_tokens(const fs::path& path) {
  Findings findings{.kind = "tokens", .title = "tokens"};
  const std::vector<TokenFileInfo> infos = describe_tokens(path);
  findings.text += fmt::format("{:>14} {:>18} {:>9} {:>9}  {:<26} {}\n", "tokens", "shape", "smallest",
                               "largest", "format", "file");
  Value::List files;
  std::int64_t tokens = 0;
  for (const TokenFileInfo& info : infos) {
    findings.text += fmt::format("{:>14} {:>18} {:>9} {:>9}  {:<26} {}\n", info.tokens,
                                 fmt::format("[{}]", fmt::join(info.shape, ", ")), info.smallest,
                                 info.largest, info.format, info.path);
    tokens += info.tokens;
    Value::List shape;
    for (const std::int64_t size : info.shape) shape.push_back(Value(size));
    files.push_back(Value(Value::Map{{"path", Value(info.path)},
                                     {"format", Value(info.format)},
                                     {"shape", Value(std::move(shape))},
                                     {"tokens", Value(info.tokens)},
                                     {"smallest", Value(info.smallest)},
                                     {"largest", Value(info.largest)}}));
  }
  findings.text +=
      fmt::format("{} tokens in {} file{}\n\n", tokens, infos.size(), infos.size() == 1 ? "" : "s");
  findings.data.map()->push_back({"files", Value(std::move(files))});
  findings.data.map()->push_back({"tokens", Value(tokens)});

  const TokenShard shard = std::move(open_token_shards(path).front());
  std::vector<std::int64_t> first(static_cast<std::size_t>(std::min(shown_tokens, shard.size())));
  shard.read(0, first);
  findings.text += fmt::format("first tokens: {}\n", fmt::join(first, " "));
  Value::List ids;
  for (const std::int64_t id : first) ids.push_back(Value(id));
  findings.data.map()->push_back({"first_tokens", Value(std::move(ids))});
  if (const std::optional<Tokenizer> tokenizer = tokenizer_beside(path)) {
    const std::string text = tokenizer->decode(first);
    findings.text += fmt::format("as text: {}\n", quoted(text));
    findings.data.map()->push_back({"first_text", Value(text)});
  }
  return findings;
}

Findings inspect_tokenizer(const fs::path& path) {
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

Findings inspect_run(const fs::path& path) {
  Findings findings{.kind = "run", .title = "a run"};
  const RunDirectory run = RunDirectory::open(path);
  const RunConfig config = load_run_config(run.config_path(), {}, config::Files::may_be_missing);
  findings.text += to_yaml(config) + "\n";
  findings.data.map()->push_back({"config", config::parse_json(to_json(config), run.config_path().string())});

  const std::optional<Checkpoint> latest = run.latest();
  Value::List steps;
  for (const Checkpoint& checkpoint : run.checkpoints()) {
    const bool is_latest = latest && latest->step == checkpoint.step;
    findings.text +=
        fmt::format("checkpoint after {} of {} steps{}: {}\n", checkpoint.step, config.training.steps,
                    is_latest ? ", the latest" : "", checkpoint.path.string());
    steps.push_back(Value(checkpoint.step));
  }
  if (steps.empty()) findings.text += "no checkpoint\n";
  findings.data.map()->push_back({"checkpoints", Value(std::move(steps))});
  findings.data.map()->push_back({"latest", latest ? Value(latest->step) : Value()});

  if (fs::exists(run.metrics_path())) {
    if (const std::string line = last_line(run.metrics_path()); !line.empty()) {
      Value metrics = as_data([&] { return config::parse_json(line, run.metrics_path().string()); });
      VPD_CHECK(metrics.map(), DataError, "{}: expected an object of numbers in the last line, found {}",
                run.metrics_path().string(), quoted(line));
      findings.text += "\nlast logged metrics\n";
      add_numbers(findings, metrics);
      findings.data.map()->push_back({"last_metrics", std::move(metrics)});
    }
  }
  if (fs::exists(run.evaluation_path())) {
    Value evaluation = as_data([&] { return config::read_file(run.evaluation_path()); });
    if (const Value* metrics = evaluation.find("metrics"); metrics && metrics->map()) {
      findings.text += "\nlast evaluation\n";
      add_numbers(findings, *metrics);
    }
    findings.data.map()->push_back({"evaluation", std::move(evaluation)});
  }
  return findings;
}

}  // namespace vpd
