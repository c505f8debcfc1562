#include "vpd/run/check.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"

namespace vpd {

void add_check(CLI::App& app) {
  struct Arguments {
    CheckOptions options;
    std::string json;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("check", "Say what a configuration would be and take, without running it");
  command->add_option("config", arguments->options.config, "Configuration, YAML or JSON")->required();
  command
      ->add_option("--set", arguments->options.overrides,
                   "Override key=value of the configuration (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--device", arguments->options.device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, arguments->options.threads);
  command->add_flag("--measure", arguments->options.measure,
                    "Build the run and make a few steps, to say what one takes; nothing is kept");
  command->add_flag("--without-weights", arguments->options.without_weights,
                    "Of a `transformers` model read config.json alone: its weights need not be there");
  add_json_option(*command, arguments->json, "the report");
  command->footer(
      "Reads the configuration, the target's shapes and every token, and prints the resolved configuration, "
      "parameters, sites, operations of "
      "a step, and the memory and the time that training takes.\n\n"
      "Examples:\n"
      "  vpd check configs/demo/config.yaml\n"
      "  vpd check configs/demo/config.yaml --set training.batch_size=16 --json check.json");
  command->callback([arguments] {
    const CheckReport report = [&] {
      Activity activity;
      return check_run(arguments->options, activity.observer());
    }();
    present(check_text(report), check_json(report), arguments->json);
  });
}

}  // namespace vpd
