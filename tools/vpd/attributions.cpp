#include "vpd/run/attributions.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "data_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_attributions(CLI::App& app) {
  struct Arguments {
    AttributionOptions options;
    std::string tokenizer, rule = "published", json;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  AttributionOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("attributions", "Which subcomponents usually feed which, summed over data");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_rows_options(*command, options.rows);
  command
      ->add_option("--rule", arguments->rule,
                   "published: derivatives; complete: norms, patterns and secants are held, and edges add up")
      ->check(CLI::IsMember({"published", "complete"}))
      ->capture_default_str();
  command->add_flag("--absolute", options.settings.absolute,
                    "Also what sources add to the magnitude of targets, where both fire");
  command
      ->add_option("--threshold", options.settings.threshold,
                   "With --absolute: they fire where their causal importance is above this")
      ->capture_default_str();
  command
      ->add_option("--top", options.top,
                   "Sources that are kept of a target: so many subcomponents and so many tokens")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_flag("--full", options.full, "Keep the sums of all pairs, too");
  command
      ->add_option("--token", options.tokens,
                   "Show what feeds the logit of a token, \" her\" or \"#5\" (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--shown", options.most, "Edges that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--slug", options.slug,
                      "The result's name, in RUN/interpretation/.../attributions; without it the rule's");
  add_dry_run_flag(*command, arguments->dry_run);
  add_json_option(*command, arguments->json, "the strongest edges");
  command->footer(
      "Examples:\n"
      "  vpd attributions runs/demo\n"
      "  vpd attributions runs/demo --rule complete --absolute --token \" the\"");
  command->callback([arguments] {
    AttributionOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    chosen.settings.complete = arguments->rule == "complete";
    chosen.command_line = command_line();
    if (arguments->dry_run) {
      present_forecast(
          watched([&](const Observer& observer) { return forecast_attributions(chosen, observer); }),
          arguments->json);
      return;
    }
    const AttributionResult result =
        watched([&](const Observer& observer) { return attributions_run(chosen, observer); });
    warn(result.warnings);
    present(attributions_text(result), attributions_json(result), arguments->json);
  });
}

}  // namespace vpd
