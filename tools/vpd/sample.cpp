#include "vpd/run/sample.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "prompt_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_sample(CLI::App& app) {
  struct Arguments {
    SampleOptions options;
    std::string tokenizer, tokens, json;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  SampleOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("sample", "Draw rows of tokens from a language model's own distribution");
  command
      ->add_option("target", options.target,
                   "Directory of a checkpoint (Hugging Face's layout, or a LlamaSimpleMLP), a run directory, "
                   "or a run's configuration")
      ->required();
  command->add_option("--rows", options.rows, "Rows to draw")->required()->check(at_least_one());
  command->add_option("--length", options.length, "Tokens of a row, what it begins with among them")
      ->required()
      ->check(at_least_one());
  command->add_option("--out", options.out, "New token file, a .bin; FILE.bin.json says what it is made of")
      ->required()
      ->check(a_path());
  command
      ->add_option("--temperature", options.choice.temperature,
                   "Logits are divided by it; 0: the most probable token")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      ->add_option("--top-p", options.choice.top_p,
                   "Draw from the most probable tokens with that probability together")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Seed of the draws: a row hangs on it and on its number")
      ->capture_default_str();
  command->add_option("--batch", options.batch, "Rows computed with at once")
      ->check(at_least_one())
      ->capture_default_str();
  command
      ->add_option("--start-token", options.start_token,
                   "Token that rows begin with, also in front of a prompt; without it the model's own where "
                   "its files name one and there is no prompt")
      ->check(at_least_zero());
  add_prompt_text_options(*command, options.prompt, arguments->tokens);
  add_tokenizer_option(*command, arguments->tokenizer);
  command->add_option("--device", options.device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, options.threads);
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and write nothing");
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd sample models/smollm2_135m --rows 1000 --length 256 --out background.bin\n"
      "  vpd sample runs/demo --rows 512 --length 64 --start-token 0 --out background.bin --dry-run\n"
      "  vpd sample models/gpt2 --rows 8 --length 64 --prompt \"The king\" --top-p 0.9 --out kings.bin");
  command->callback([arguments] {
    SampleOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->tokens.empty())
      chosen.prompt_tokens = numbers_between_commas("--prompt-tokens", arguments->tokens);
    chosen.command_line = command_line();
    if (arguments->dry_run) {
      const SampleForecast forecast =
          watched([&](const Observer& observer) { return forecast_sample(chosen, observer); });
      warn(forecast.warnings);
      present(forecast_text(forecast), forecast_json(forecast), arguments->json);
      return;
    }
    const SampleResult result =
        watched([&](const Observer& observer) { return sample_run(chosen, observer); });
    warn(result.warnings);
    present(sample_text(result), sample_json(result), arguments->json);
  });
}

}  // namespace vpd
