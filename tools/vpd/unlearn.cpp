#include "vpd/run/unlearn.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "prompt_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_unlearn(CLI::App& app) {
  struct Arguments {
    UnlearnOptions options;
    std::string tokenizer, out, from = "screen", baselines = "all", json;
  };
  auto arguments = std::make_shared<Arguments>();
  UnlearnOptions& options = arguments->options;
  UnlearnSettings& settings = options.settings;
  CLI::App* command = app.add_subcommand(
      "unlearn", "Take a behaviour out with little damage elsewhere, beside plain baselines");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_prompt_options(*command, options.prompts);
  command
      ->add_option("--budget", settings.budget,
                   "Damage that is allowed: mean KL over all positions of the others, in nats")
      ->capture_default_str();
  command
      ->add_option("--enough", settings.enough,
                   "Fall of the metric, in nats, that ends the choice before the budget does; 0: none does")
      ->capture_default_str();
  command
      ->add_option(
          "--stay", settings.stay,
          "Change of the metric, in nats, that is allowed of each of the others that has a target; 0: "
          "only the budget counts")
      ->capture_default_str();
  command
      ->add_option("--out", arguments->out,
                   "Directory for the edited target; without it effects are measured alone")
      ->check(a_path());
  command->add_option("--most", settings.most, "Subcomponents in the set, at most")
      ->check(at_least_one())
      ->capture_default_str();
  add_candidate_options(*command, settings.audit, arguments->from);
  command
      ->add_option("--baselines", arguments->baselines,
                   "all, none, or some of random, activation, importance, estimate, graphs, "
                   "mean_difference, rank_1 "
                   "and rank_4, between commas")
      ->capture_default_str();
  command->add_option("--controls", settings.controls, "Random sets of the same sites and density")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--fit-steps", settings.fit_steps, "Steps of fitting each low-rank update")
      ->check(at_least_one())
      ->capture_default_str();
  command
      ->add_option("--relearn", settings.relearn_steps,
                   "Train the altered targets on the choosing half for so many steps, and show how fast the "
                   "behaviour returns")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--relearn-rate", settings.relearn_rate, "Its learning rate")->capture_default_str();
  command->add_option("--seed", settings.audit.seed, "Seed of intervals, random sets and fits")
      ->capture_default_str();
  command->add_option("--slug", options.slug, "The result's name, in RUN/interpretation/.../audits")
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd unlearn runs/demo --prompts of.jsonl --against other.jsonl --relearn 50\n"
      "  vpd unlearn runs/demo --prompts of.jsonl --budget 0.01 --out models/unlearned");
  command->callback([arguments] {
    UnlearnOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->out.empty()) chosen.out = arguments->out;
    chosen.settings.baselines = parse_baselines(arguments->baselines);
    chosen.settings.audit.from = candidates_from(arguments->from);
    chosen.command_line = command_line();
    const UnlearnRunResult result =
        watched([&](const Observer& observer) { return unlearn_run(chosen, observer); });
    warn(result.warnings);
    present(unlearn_text(result), unlearn_json(result), arguments->json);
  });
}

}  // namespace vpd
