#include "vpd/run/intervene.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "edit_options.hpp"
#include "prompt_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_intervene(CLI::App& app) {
  struct Arguments {
    InterveneOptions options;
    EditArguments edits;
    std::string tokenizer, tokens, context = "target", slug, json;
  };
  auto arguments = std::make_shared<Arguments>();
  InterveneOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("intervene", "Edit subcomponents on one prompt, and see what the model says");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_prompt_text_options(*command, options.prompt, arguments->tokens);
  add_edit_options(*command, arguments->edits);
  command->add_option("--in", arguments->context, "target, components, stochastic, adversarial or keep-only")
      ->capture_default_str();
  command
      ->add_option("--keep", options.kept,
                   "With --in keep-only: subcomponents, SITE:C or SITE:C@POSITION, between commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("--attack-steps", options.settings.attack_steps, "Steps of the attack of --in adversarial")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--top", options.top, "Next tokens that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command
      ->add_option("--generate", options.generation.tokens,
                   "Go on for so many tokens: the target, the edited one and controls")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--samples", options.samples, "How many texts of each")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--temperature", options.generation.temperature, "0: the most probable token")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      ->add_option("--top-p", options.generation.top_p,
                   "Draw from the most probable tokens with that probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command
      ->add_option("--controls", options.controls,
                   "Random sets of the same sites and density, edited likewise")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--seed", options.settings.seed, "Seed of masks, controls and texts")
      ->capture_default_str();
  command->add_option("--slug", arguments->slug,
                      "Keep the result under this name, in RUN/interpretation/.../interventions");
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd intervene runs/demo --prompt \"And the LORD said unto\" --ablate h.1.attn.v_proj:23 --generate "
      "20\n"
      "  vpd intervene runs/demo --prompt \"And the king\" --scale h.1.mlp.down_proj:39=0 --in adversarial");
  command->callback([arguments] {
    InterveneOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->slug.empty()) chosen.slug = arguments->slug;
    if (!arguments->tokens.empty())
      chosen.prompt_tokens = numbers_between_commas("--prompt-tokens", arguments->tokens);
    chosen.edits = arguments->edits.specs();
    chosen.settings.context = parse_context(arguments->context);
    chosen.generation.seed = chosen.settings.seed;
    chosen.command_line = command_line();
    const InterveneResult result =
        watched([&](const Observer& observer) { return intervene_run(chosen, observer); });
    warn(result.warnings);
    present(intervene_text(result), intervene_json(result), arguments->json);
  });
}

}  // namespace vpd
