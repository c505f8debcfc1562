#include "vpd/run/attention.hpp"

#include <charconv>
#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "prompt_options.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "watched.hpp"

namespace vpd {
namespace {

/// "0:32".
std::pair<std::int64_t, std::int64_t> range_of(const std::string& text) {
  std::pair<std::int64_t, std::int64_t> range;
  const char *at = text.data(), *end = at + text.size();
  const auto [colon, first_error] = std::from_chars(at, end, range.first);
  const bool begun = first_error == std::errc() && colon != end && *colon == ':';
  const auto [rest, error] = begun ? std::from_chars(colon + 1, end, range.second)
                                   : std::from_chars_result{at, std::errc::invalid_argument};
  VPD_CHECK(error == std::errc() && rest == end, UsageError,
            "--offsets: expected a range like 0:32, found {}", quote_foreign(text));
  return range;
}

}  // namespace

void add_attention(CLI::App& app) {
  struct Arguments {
    AttentionOptions options;
    std::string tokenizer, prompt_tokens, offsets, tokens, json;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  AttentionOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "attention", "Which pairs of subcomponents make the heads of a block look where they look");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  command->add_option("--layer", options.layer, "The block, counted from 0")->required();
  command->add_option("--head", options.head, "Show this head alone");
  command->add_option("--offsets", arguments->offsets,
                      "Distances from key to query, a:b, b not among them; without it 0:32");
  command->add_option("--pairs", options.pairs, "Pairs of a head that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  add_prompt_text_options(*command, options.prompt, arguments->prompt_tokens);
  command->add_option("--slug", options.slug, "The prompt's name, in RUN/interpretation/.../prompts")
      ->capture_default_str();
  CLI::Option* tokens = command->add_option("--tokens", arguments->tokens,
                                            "Token files to read in place of the run's held-out rows");
  command->add_option("--split", options.split, "Rows of the run to read: eval (without it) or train")
      ->excludes(tokens);
  command->add_option("--positions", options.positions, "Positions to read at most")
      ->check(at_least_one())
      ->capture_default_str();
  command
      ->add_option("--ablate", options.ablate,
                   "A subcomponent, SITE:C: how far back do heads look without it? (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--given", options.given,
                      "Weigh what heads move by positions where this subcomponent is important, SITE:C");
  command->add_option("--threshold", options.threshold, "Important: a causal importance above this")
      ->capture_default_str();
  command
      ->add_option("--min-importance", options.min_importance,
                   "Subcomponents with a mean importance above this are kept apart; the others are one term")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Seed of random tokens and random heads")
      ->capture_default_str();
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and do nothing");
  add_json_option(*command, arguments->json, "the heads and their pairs");
  command->footer(
      "Examples:\n"
      "  vpd attention runs/demo --layer 1\n"
      "  vpd attention runs/demo --layer 1 --prompt \"The king of Israel\" --slug king\n"
      "  vpd attention runs/demo --layer 0 --head 2 --ablate h.0.attn.k_proj:3");
  command->callback([arguments] {
    AttentionOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->tokens.empty()) chosen.tokens = arguments->tokens;
    if (!arguments->offsets.empty()) chosen.offsets = range_of(arguments->offsets);
    if (!arguments->prompt_tokens.empty())
      chosen.prompt_tokens = numbers_between_commas("--prompt-tokens", arguments->prompt_tokens);
    chosen.command_line = command_line();
    if (arguments->dry_run) {
      const AttentionForecast forecast =
          watched([&](const Observer& observer) { return forecast_attention(chosen, observer); });
      warn(forecast.warnings);
      present(forecast_text(forecast), forecast_json(forecast), arguments->json);
      return;
    }
    const AttentionResult result =
        watched([&](const Observer& observer) { return attention_run(chosen, observer); });
    warn(result.warnings);
    present(attention_text(result), attention_json(result), arguments->json);
  });
}

}  // namespace vpd
