#include "vpd/run/evaluate.hpp"

#include <memory>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"

namespace vpd {

void add_evaluate(CLI::App& app) {
  struct Arguments {
    EvaluateOptions options;
    std::string json;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("evaluate", "Measure a run's decomposition on held-out data");
  add_run_options(*command, arguments->options);
  command
      ->add_option(
          "--metrics", arguments->options.metrics,
          "Metrics of the configuration to measure, by type or by a pgd metric's name; without it all")
      ->delimiter(',')
      ->allow_extra_args(false);
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd evaluate runs/demo --metrics ce_kl,ci_l0\n"
      "  vpd evaluate runs/demo --metrics pgd_20 --set evaluation.metrics.pgd_20.steps=40\n"
      "  vpd evaluate runs/demo --checkpoint 5000 --set evaluation.batches=4 --json figures.json");
  command->callback([arguments] {
    watch_interrupts("stopping");
    const EvaluateResult result = [&] {
      Activity activity;
      Observer observer = activity.observer();
      observer.stop = interrupted;
      return evaluate_run(arguments->options, observer);
    }();
    warn(result.warnings);
    present(arguments->options.run.string() + ", " + result.checkpoint + "\n\n" + evaluation_table(result),
            evaluation_json(result), arguments->json);
  });
}

}  // namespace vpd
