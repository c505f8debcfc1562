#include "prompt_options.hpp"

#include "command_line.hpp"

namespace vpd {

void add_prompt_text_options(CLI::App& command, std::string& prompt, std::string& tokens) {
  CLI::Option* text = command.add_option("--prompt", prompt, "The text; nothing is added to it");
  command.add_option("--prompt-tokens", tokens, "Its tokens' numbers, between commas")->excludes(text);
}

void add_prompt_options(CLI::App& command, AuditedPrompts& prompts) {
  command
      .add_option("--prompts", prompts.behaviour,
                  "Examples of the behaviour: JSON lines {\"prompt\", \"target\", \"contrast\"?, \"group\"?}")
      ->required()
      ->check(a_file());
  command
      .add_option("--against", prompts.against,
                  "What is to stay as it is: JSON lines, targets optional; text (.txt), a row a line; or "
                  "tokens (.bin, .npy); without it the run's held-out rows")
      ->check(a_file());
  command.add_option("--against-rows", prompts.rows, "Rows of tokens, at most")
      ->check(at_least_one())
      ->capture_default_str();
}

void add_candidate_options(CLI::App& command, AuditSettings& settings, std::string& from) {
  command
      .add_option("--candidates", settings.candidates, "Subcomponents that are taken out one by one, at most")
      ->check(at_least_one())
      ->capture_default_str();
  command
      .add_option(
          "--candidates-from", from,
          "screen: the best by a first-order estimate of all; graphs: those that importances keep which "
          "are optimised for each prompt against an adversary")
      ->check(CLI::IsMember({"screen", "graphs"}))
      ->capture_default_str();
  command
      .add_option("--graph-share", settings.graph_share,
                  "Of graphs: kept in at least this part of the prompts")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command.add_option("--graph-steps", settings.graphs.steps, "Of graphs: steps for each prompt")
      ->check(at_least_one())
      ->capture_default_str();
}

CandidatesFrom candidates_from(const std::string& text) {
  return text == "graphs" ? CandidatesFrom::graphs : CandidatesFrom::screen;
}

}  // namespace vpd
