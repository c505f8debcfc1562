#include "vpd/run/check_health.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"

namespace vpd {

void add_check_health(CLI::App& app) {
  struct Arguments {
    std::string run, json;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "check-health", "Say whether a run shows known signs of going wrong, and the remedy");
  command->add_option("run", arguments->run, "Run directory, of a run that goes on or has ended")->required();
  add_json_option(*command, arguments->json, "the findings");
  command->footer(
      "Reads metrics.jsonl and evaluation.json (run vpd evaluate first for what only an evaluation tells). "
      "The "
      "exit code is 0 whatever the verdicts.\n\n"
      "Examples:\n"
      "  vpd check-health runs/demo\n"
      "  vpd check-health runs/demo --json health.json");
  command->callback([arguments] {
    const HealthReport report = [&] {
      Activity activity;
      return check_health(arguments->run, activity.observer());
    }();
    warn(report.warnings);
    present(health_text(report), health_json(report), arguments->json);
  });
}

}  // namespace vpd
