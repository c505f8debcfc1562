#include "vpd/run/interactions.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "data_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_interactions(CLI::App& app) {
  struct Arguments {
    InteractionOptions options;
    std::string json;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  InteractionOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "interactions", "Which subcomponents of an MLP's first matrix share neurons at the same positions");
  add_run_options(*command, options);
  command->add_option("--site", options.site,
                      "Pattern of sites; without it all whose outputs an elementwise function reads");
  add_rows_options(*command, options.rows);
  command
      ->add_option("--threshold", options.threshold,
                   "A subcomponent fires where its causal importance is above this")
      ->capture_default_str();
  command->add_flag("--curvature", options.curvature,
                    "Weigh neurons by how much the function bends there, too");
  command->add_option("--order", options.order, "Of rows and columns: columns or clusters")
      ->capture_default_str();
  command->add_option("--top", options.most, "Pairs of each site that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  add_dry_run_flag(*command, arguments->dry_run);
  add_json_option(*command, arguments->json, "the summaries and the strongest pairs");
  command->footer("Example:\n  vpd interactions runs/demo --site \"h.*.mlp.c_fc\" --curvature");
  command->callback([arguments] {
    arguments->options.command_line = command_line();
    if (arguments->dry_run) {
      present_forecast(watched([&](const Observer& observer) {
                         return forecast_interactions(arguments->options, observer);
                       }),
                       arguments->json);
      return;
    }
    const InteractionResult result =
        watched([&](const Observer& observer) { return interactions_run(arguments->options, observer); });
    warn(result.warnings);
    present(interactions_text(result), interactions_json(result), arguments->json);
  });
}

}  // namespace vpd
