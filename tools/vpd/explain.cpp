#include "vpd/run/explain.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "watched.hpp"

namespace vpd {

void add_explain(CLI::App& app) {
  struct Arguments {
    ExplainOptions options;
    std::string tokenizer, device, json;
  };
  auto arguments = std::make_shared<Arguments>();
  ExplainOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "explain", "Which parameters make a model say this, proved by attack, and what removing them does");
  command->add_option("target", options.target, "Directory of a language model")->required();
  command
      ->add_option("--prompt", options.prompts,
                   "A text that the model goes on with in a way that is to be explained (repeatable: each is "
                   "explained, and kept while another's is removed)")
      ->required()
      ->allow_extra_args(false);
  command
      ->add_option(
          "--continuation", options.continuations,
          "What it says behind each prompt, in their order; without it the most probable token. Each "
          "token of it is explained")
      ->allow_extra_args(false);
  command
      ->add_option("--against", options.against, "JSON lines: further prompts that are to stay as they are")
      ->check(a_file());
  command->add_option("--background", options.background,
                      "Tokens (.bin or .npy) of other text; without it the model samples rows");
  command->add_option("--start-token", options.start_token,
                      "Token id with which sampled rows begin, in place of the one that the target's files "
                      "name: an instruct model's often begins a chat");
  command->add_option("--layers", options.layers, "Blocks to decompose, FIRST:END; without it the last ten");
  command->add_option("--budget", options.minutes, "Minutes that all of it may take")->capture_default_str();
  command->add_option("--out", options.out, "Directory for everything that is made")
      ->required()
      ->check(a_path());
  command->add_flag("--resume", options.resume, "Go on with what lies in --out, asked the same");
  command->add_flag("--plan", options.plan_only, "Write the configuration, say what it would take, and stop");
  command->add_option("--set", options.overrides, "Override key=value of that configuration (repeatable)")
      ->allow_extra_args(false);
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A tokenizer.json; without it the one beside the target")
      ->check(a_file());
  command->add_option("--device", arguments->device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, options.threads);
  command->add_option("--seed", options.seed, "Of everything that is drawn")->capture_default_str();
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Ctrl-C saves and stops; the same command with --resume goes on.\n"
      "Example:\n"
      "  vpd explain models/SmolLM2-135M --prompt \"import numpy as\" --continuation \" np\" \\\n"
      "      --prompt \"import pandas as\" --continuation \" pd\" --out explained/imports");
  command->callback([arguments] {
    ExplainOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->device.empty()) chosen.device = arguments->device;
    chosen.command_line = command_line();
    const ExplainResult result =
        watched([&](const Observer& observer) { return explain_run(chosen, observer); });
    warn(result.warnings);
    present(explain_text(result), explain_json(result), arguments->json);
  });
}

}  // namespace vpd
