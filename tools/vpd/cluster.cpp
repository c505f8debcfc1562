#include "vpd/run/cluster.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "watched.hpp"

namespace vpd {

void add_cluster(CLI::App& app) {
  struct Arguments {
    ClusterOptions options;
    std::string tokens, json;
    double positions = 0.0;
    bool dry_run = false;
  };
  auto arguments = std::make_shared<Arguments>();
  ClusterOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("cluster", "Group subcomponents that are important together");
  add_run_options(*command, options);
  CLI::Option* tokens = command->add_option("--tokens", arguments->tokens,
                                            "Token files to read in place of the run's held-out rows");
  command->add_option("--split", options.split, "Rows of the run to read: eval (without it) or train")
      ->excludes(tokens);
  command->add_option("--positions", arguments->positions, "Positions to look at; without it 65,536")
      ->check(CLI::Range(1.0, 2e9));
  command
      ->add_option("--per-row", options.per_row,
                   "Positions drawn of a row; without it 16, or more where rows are few")
      ->check(at_least_one());
  command
      ->add_option("--threshold", options.threshold,
                   "A subcomponent is important where its causal importance is above this")
      ->capture_default_str();
  command
      ->add_option("--within", options.within,
                   "Shell pattern of the sites to look at (repeatable); without it all")
      ->allow_extra_args(false);
  command
      ->add_option(
          "--alpha", options.alphas,
          "Bits for each member of a group: the more, the smaller are the groups; several between commas, "
          "of which the first makes the clusters")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  CLI::Option* gamma =
      command
          ->add_option("--gamma", options.settings.gamma,
                       "How fast the chance of a merge falls with its rank among the cheapest")
          ->capture_default_str();
  command->add_flag("--require-coactivation", options.settings.together,
                    "Merge no groups that are never important together");
  CLI::Option* seeds =
      command->add_option("--seeds", options.seeds, "Clusterings to compare, the first of which is shown")
          ->check(at_least_one())
          ->capture_default_str();
  command->add_flag("--greedy", options.settings.greedy, "Always the cheapest merge, in one clustering")
      ->excludes(gamma)
      ->excludes(seeds);
  command
      ->add_option("--seed", options.settings.seed,
                   "Seed of the positions and of the first clustering's draws")
      ->capture_default_str();
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and do nothing");
  add_json_option(*command, arguments->json, "the clusters");
  command->footer(
      "Examples:\n"
      "  vpd cluster runs/demo\n"
      "  vpd cluster runs/demo --within \"h.1.*\" --alpha 1,2,5 --require-coactivation");
  command->callback([arguments] {
    ClusterOptions& chosen = arguments->options;
    if (!arguments->tokens.empty()) chosen.tokens = arguments->tokens;
    if (arguments->positions >= 1.0) chosen.positions = static_cast<std::int64_t>(arguments->positions);
    chosen.command_line = command_line();
    if (chosen.settings.greedy) chosen.seeds = 1;
    if (arguments->dry_run) {
      const ClusterForecast forecast =
          watched([&](const Observer& observer) { return forecast_cluster(chosen, observer); });
      warn(forecast.warnings);
      present(forecast_text(forecast), forecast_json(forecast), arguments->json);
      return;
    }
    const ClusterResult result =
        watched([&](const Observer& observer) { return cluster_run(chosen, observer); });
    warn(result.warnings);
    present(cluster_text(result), cluster_json(result), arguments->json);
  });
}

}  // namespace vpd
