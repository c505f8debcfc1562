#include "prompt_options.hpp"

#include "command_line.hpp"

namespace vpd {

void add_prompt_options(CLI::App& command, AuditedPrompts& prompts) {
  command
      .add_option("--prompts", prompts.behaviour,
                  "Examples of the behaviour: JSON lines {\"prompt\", \"target\", \"contrast\"?, \"group\"?}")
      ->required()
      ->check(CLI::ExistingFile);
  command
      .add_option("--against", prompts.against,
                  "What is to stay as it is: JSON lines, targets optional; text (.txt), a row a line; or "
                  "tokens (.bin, .npy); without it the run's held-out rows")
      ->check(CLI::ExistingFile);
  command.add_option("--against-rows", prompts.rows, "Rows of tokens, at most")
      ->check(at_least_one())
      ->capture_default_str();
}

}  // namespace vpd
