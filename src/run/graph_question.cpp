#include "graph_question.hpp"

#include <charconv>
#include <cmath>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {
namespace {

template <class Number>
bool read_all(std::string_view text, Number& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size();
}

/// " her@2", "#5@2", "kl@2", or without a position.
OutputTarget parse_target(const std::string& text, std::int64_t T, const EditSource& source) {
  OutputTarget target{.at = T - 1};
  std::string what = text;
  const std::size_t at = text.rfind('@');
  if (at != std::string::npos && at + 1 < text.size() &&
      read_all(std::string_view(text).substr(at + 1), target.at))
    what = text.substr(0, at);
  VPD_CHECK(target.at >= 0 && target.at < T, UsageError,
            "--target {}: expected a position from 0 to {}, the prompt's last, found {}", quote_foreign(text),
            T - 1, target.at);
  if (what != "kl") target.token = source.token_named(what);
  return target;
}

GraphQuestion features_question(const GraphOptions& options, const Target& target) {
  VPD_CHECK(options.prompt.empty() && options.prompt_tokens.empty() && options.continuation.empty() &&
                options.generation.tokens == 0,
            UsageError,
            "the target reads features: expected --features, such as 0=0.75,3=1, found a prompt of tokens");
  VPD_CHECK(!options.features.empty(), UsageError,
            "the target reads features: expected --features, such as 0=0.75,3=1, found none");
  GraphQuestion question{.input = at::zeros({target.features()}, at::kFloat), .targets = {}, .said = {}};
  std::string_view left = options.features;
  while (!left.empty()) {
    const std::string_view word = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), word.size() + 1));
    const std::size_t equals = word.find('=');
    std::int64_t j = 0;
    double value = 0.0;
    VPD_CHECK(equals != std::string_view::npos && read_all(word.substr(0, equals), j) &&
                  read_all(word.substr(equals + 1), value) && std::isfinite(value) && j >= 0 &&
                  j < target.features(),
              UsageError,
              "--features: expected numbers of features below {} and their values, such as "
              "0=0.75,3=1, found {}",
              target.features(), quote_foreign(word));
    question.input[j] = value;
  }
  for (const std::string& text : options.targets) {
    std::int64_t output = 0;
    VPD_CHECK(read_all(std::string_view(text), output) && output >= 0 && output < target.features(),
              UsageError, "--target: expected an output of the target, a number below {}, found {}",
              target.features(), quote_foreign(text));
    question.targets.push_back({.at = 0, .token = output});
  }
  if (question.targets.empty()) question.targets.push_back({});
  return question;
}

/// The tokens behind a prompt that are explained one by one.
std::vector<std::int64_t> continuation_of(const GraphOptions& options, const EditSource& source,
                                          const std::vector<std::int64_t>& prompt,
                                          std::vector<std::string>& warnings, const Observer& observer) {
  if (!options.continuation.empty()) {
    VPD_CHECK(
        source.tokenizer, UsageError,
        "--continuation: expected a tokenizer.json beside the target or its tokens, found none; name one "
        "with --tokenizer");
    return source.tokenizer->encode(options.continuation);
  }
  if (options.generation.tokens == 0) return {};
  const std::vector<std::int64_t> said =
      generate(source.run.decomposition, prompt, {}, {}, options.generation, 0, observer.stop);
  const std::int64_t longest = source.run.decomposition.target->longest_sequence();
  VPD_CHECK(!said.empty(), UsageError,
            "--generate: expected a prompt of fewer than {} tokens, the target's longest row, found {}",
            longest, prompt.size());
  if (static_cast<std::int64_t>(said.size()) < options.generation.tokens)
    warnings.push_back(
        fmt::format("the target's longest row of {} tokens was full after {} of them", longest, said.size()));
  return said;
}

}  // namespace

GraphQuestion question_of(const GraphOptions& options, const EditSource& source,
                          std::vector<std::string>& warnings, const Observer& observer) {
  const Target& target = *source.run.decomposition.target;
  if (target.vocabulary_size() == 0) return features_question(options, target);
  VPD_CHECK(options.features.empty(), UsageError,
            "--features: expected a target of features, found one of tokens; give --prompt");
  std::vector<std::int64_t> tokens = source.prompt_of(options.prompt, options.prompt_tokens);
  GraphQuestion question;
  const auto T = static_cast<std::int64_t>(tokens.size());
  for (const std::string& text : options.targets) question.targets.push_back(parse_target(text, T, source));
  const std::vector<std::int64_t> more = continuation_of(options, source, tokens, warnings, observer);
  for (const std::int64_t token : more) {
    question.targets.push_back({.at = static_cast<std::int64_t>(tokens.size()) - 1, .token = token});
    tokens.push_back(token);
  }
  if (!more.empty()) tokens.pop_back();  // what is said last is read by nobody
  if (options.generation.tokens > 0) question.said = more;
  VPD_CHECK(static_cast<std::int64_t>(tokens.size()) <= target.longest_sequence(), UsageError,
            "the prompt and its continuation: expected at most {} tokens, found {}",
            target.longest_sequence(), tokens.size());
  question.input = at::tensor(tokens, at::kLong);
  const at::NoGradGuard no_grad;
  PlainExecutor plain;
  const at::Tensor p = target.forward(question.input.unsqueeze(0).to(source.run.numerics.device), plain)
                           .to(at::kDouble)
                           .softmax(1);
  if (question.targets.empty())
    question.targets.push_back({.at = T - 1, .token = p[T - 1].argmax().item<std::int64_t>()});
  for (const OutputTarget& one : question.targets) {
    if (!one.token) continue;
    const double probability = p[one.at][*one.token].item<double>();
    if (probability < 1e-4)
      warnings.push_back(
          fmt::format("the target says {} at position {} with probability {:.2g}: there is hardly "
                      "anything to explain",
                      source.token_text(*one.token), one.at, probability));
  }
  return question;
}

}  // namespace vpd
