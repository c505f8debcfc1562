#include "explain_question.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/tokenizer.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/run/sample.hpp"
#include "vpd/target/target.hpp"
#include "vpd/target/target_directory.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double hardly_said = 0.1;  // a continuation that is less probable is warned of
// Rows have 16 tokens or more: 20,000 positions are left without those that choose removals.
constexpr std::int64_t sampled_rows = 1280, rows_behind_a_prompt = 32;

/// Tokens of a row of the background: enough for text to go on behind the longest prompt.
std::int64_t background_length(const Question& question) {
  return std::min(std::max<std::int64_t>(16, 2 * question.longest), question.architecture.longest_sequence);
}

Tokenizer tokenizer_of(const ExplainOptions& options) {
  const fs::path path = options.tokenizer.value_or(options.target / "tokenizer.json");
  std::error_code error;
  VPD_CHECK(fs::exists(path, error), UsageError,
            "{}: expected the target's tokenizer, found none: name one with --tokenizer", path.string());
  return Tokenizer::load(path);
}

/// Fills in what the model says behind the prompt, and how probable each token of that is.
void ask(const Target& target, const Tokenizer& tokenizer, ExplainedPrompt& prompt) {
  const at::NoGradGuard no_grad;
  PlainExecutor plain;
  const auto probabilities = [&](const std::vector<std::int64_t>& tokens) {
    const at::Tensor row = at::tensor(tokens, at::kLong).unsqueeze(0).to(target.numerics().device);
    return target.forward(row, plain).to(at::kDouble).softmax(1);
  };
  std::vector<std::int64_t> all = prompt.tokens;
  if (prompt.next.empty()) {
    const at::Tensor behind = probabilities(all)[-1];
    prompt.next = {behind.argmax().item<std::int64_t>()};
    prompt.continuation = tokenizer.token_text(prompt.next.front());
  }
  all.insert(all.end(), prompt.next.begin(), prompt.next.end() - 1);
  const at::Tensor p = probabilities(all);
  for (std::size_t k = 0; k < prompt.next.size(); ++k) {
    const auto at = static_cast<std::int64_t>(prompt.tokens.size() + k) - 1;
    prompt.probability.push_back(p[at][prompt.next[k]].item<double>());
  }
}

bool holds(const std::int64_t* row, std::int64_t length, const std::vector<std::int64_t>& tokens) {
  return std::search(row, row + length, tokens.begin(), tokens.end()) != row + length;
}

void write_tokens(const fs::path& path, const std::vector<std::int64_t>& tokens, std::int64_t vocabulary) {
  fs::create_directories(path.parent_path());
  if (vocabulary <= 65'536)
    write_token_shard(path, std::vector<std::uint16_t>(tokens.begin(), tokens.end()));
  else
    write_token_shard(path, std::vector<std::uint32_t>(tokens.begin(), tokens.end()));
}

SampleOptions sampling(const ExplainOptions& options, std::int64_t rows, std::int64_t length,
                       const fs::path& out) {
  SampleOptions sample;
  sample.target = options.target;
  sample.rows = rows;
  sample.length = length;
  sample.seed = options.seed;
  sample.tokenizer = options.tokenizer;
  sample.device = options.device;
  sample.threads = options.threads;
  sample.out = out;
  sample.command_line = options.command_line;
  return sample;
}

/// A file that an interrupted stage may have left is made again.
fs::path anew(const fs::path& path) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  fs::remove(path, ignored);
  fs::remove(path.string() + ".json", ignored);
  return path;
}

}  // namespace

Question ask_question(const ExplainOptions& options, const Observer& observer,
                      std::vector<std::string>& warnings) {
  VPD_CHECK(!options.prompts.empty(), UsageError, "--prompt: expected a prompt, found none");
  VPD_CHECK(options.continuations.empty() || options.continuations.size() == options.prompts.size(),
            UsageError, "--continuation: expected one for each of {} prompts, or none, found {}",
            options.prompts.size(), options.continuations.size());
  VPD_CHECK(options.minutes > 0.0 && std::isfinite(options.minutes), UsageError,
            "--budget: expected a number of minutes above 0, found {:g}", options.minutes);
  std::error_code error;
  VPD_CHECK(!fs::is_directory(options.target / "checkpoints", error), UsageError,
            "{}: expected a model's directory, found a run of `vpd decompose`: name the target that it "
            "decomposed, or look at the run with `vpd report`",
            options.target.string());
  Question question;
  question.target = target_in(fs::weakly_canonical(options.target));
  question.architecture = describe_target(question.target, warnings);
  VPD_CHECK(question.architecture.features == 0, UsageError,
            "{}: expected a language model, found a target of features: decompose it with a configuration of "
            "your own (`vpd decompose`)",
            options.target.string());
  const Tokenizer tokenizer = tokenizer_of(options);
  observer.announce("reading the target");
  const std::unique_ptr<Target> target = load_target(
      question.target, resolve_numerics(options.device.value_or("auto"), Precision::fp32), warnings);

  for (std::size_t i = 0; i < options.prompts.size(); ++i) {
    ExplainedPrompt prompt{.text = options.prompts[i]};
    prompt.tokens = tokenizer.encode(prompt.text);
    VPD_CHECK(!prompt.tokens.empty(), UsageError, "--prompt: expected text, found an empty one");
    if (!options.continuations.empty()) {
      prompt.continuation = options.continuations[i];
      prompt.next = tokenizer.encode(prompt.continuation);
      VPD_CHECK(!prompt.next.empty(), UsageError, "--continuation: expected text, found an empty one");
    }
    const auto whole = static_cast<std::int64_t>(prompt.tokens.size() + prompt.next.size());
    VPD_CHECK(whole <= target->longest_sequence(), UsageError,
              "--prompt: expected at most {} tokens with its continuation, which the target takes, found {}",
              target->longest_sequence(), whole);
    ask(*target, tokenizer, prompt);
    for (std::size_t k = 0; k < prompt.next.size(); ++k) {
      if (prompt.probability[k] >= hardly_said) continue;
      warnings.push_back(
          fmt::format("behind {} the target says {} with probability {:.2g}: there is little to "
                      "explain",
                      quote_foreign(prompt.text), quote_foreign(tokenizer.token_text(prompt.next[k])),
                      prompt.probability[k]));
    }
    QuestionRow row{.tokens = prompt.tokens, .prompt = i};
    for (const std::int64_t next : prompt.next) {
      row.target = next;
      question.rows.push_back(row);
      row.tokens.push_back(next);
    }
    question.prompts.push_back(std::move(prompt));
  }
  if (!options.against.empty()) {
    for (const AuditPrompt& prompt : read_prompts(
             options.against, target->vocabulary_size(), target->longest_sequence(),
             [&](const std::string& text) { return tokenizer.encode(text); }, warnings))
      question.rows.push_back({.tokens = prompt.tokens, .target = prompt.target});
  }
  for (const QuestionRow& row : question.rows)
    question.longest = std::max(question.longest, static_cast<std::int64_t>(row.tokens.size()));
  return question;
}

nlohmann::ordered_json question_json(const ExplainOptions& options, const Question& question) {
  Json prompts = Json::array();
  for (const ExplainedPrompt& prompt : question.prompts)
    prompts.push_back({{"tokens", prompt.tokens}, {"next", prompt.next}});
  return {{"target", fs::absolute(options.target).string()},
          {"prompts", prompts},
          {"rows", question.rows.size()},
          {"background", options.background.empty() ? "" : fs::absolute(options.background).string()},
          {"layers", options.layers},
          {"minutes", options.minutes},
          {"overrides", options.overrides},
          {"start_token", options.start_token ? Json(*options.start_token) : Json()},
          {"seed", options.seed}};
}

std::string prompt_lines(const std::vector<QuestionRow>& rows) {
  std::string lines;
  for (const QuestionRow& row : rows) {
    Json line = {{"tokens", row.tokens}};
    if (row.target) line["target"] = *row.target;
    lines += json_text(line) + "\n";
  }
  return lines;
}

BackgroundRows background_rows(const ExplainOptions& options, const Question& question,
                               const fs::path& directory, const Observer& observer) {
  const std::int64_t length = background_length(question);
  fs::path source = options.background;
  if (source.empty()) {
    source = anew(directory / "sampled" / "rows.bin");
    SampleOptions sample = sampling(options, sampled_rows, length, source);
    sample.start_token = options.start_token;
    sample_run(sample, observer);
  }
  const std::int64_t vocabulary = question.architecture.output_width;
  TokenDataset data(source, length, /*shuffle=*/false, options.seed);
  data.require_vocabulary(vocabulary);
  const std::int64_t there =
      std::min(data.sequences(), options.background.empty() ? sampled_rows : 16 * sampled_rows);
  BackgroundRows found{.length = length};
  std::vector<std::int64_t> kept;
  for (std::int64_t r = 0; r < there; ++r) {
    const at::Tensor row = data.batch(r, 1).contiguous();
    const auto* tokens = row.const_data_ptr<std::int64_t>();
    const bool excluded =
        std::any_of(question.prompts.begin(), question.prompts.end(),
                    [&](const auto& prompt) { return holds(tokens, length, prompt.tokens); });
    ++(excluded ? found.excluded : found.rows);
    if (!excluded) kept.insert(kept.end(), tokens, tokens + length);
  }
  VPD_CHECK(found.rows > 0, DataError,
            "{}: expected rows of {} tokens without the prompts, found that all {} hold one", source.string(),
            length, found.excluded);
  write_tokens(directory / background_file, kept, vocabulary);

  // Evidence is of both kinds of text.
  std::vector<std::int64_t> evidence;
  for (std::size_t i = 0; i < question.prompts.size(); ++i) {
    SampleOptions sample = sampling(options, rows_behind_a_prompt, length,
                                    anew(directory / "sampled" / fmt::format("prompt_{}.bin", i + 1)));
    sample.prompt_tokens = question.prompts[i].tokens;
    sample_run(sample, observer);
    const TokenDataset rows(sample.out, length, /*shuffle=*/false, 0);
    const at::Tensor all = rows.batch(0, rows.sequences()).contiguous();
    const auto* tokens = all.const_data_ptr<std::int64_t>();
    evidence.insert(evidence.end(), tokens, tokens + all.numel());
  }
  write_tokens(directory / evidence_directory / "prompts.bin", evidence, vocabulary);
  write_tokens(directory / evidence_directory / "rows.bin", kept, vocabulary);
  return found;
}

}  // namespace vpd
