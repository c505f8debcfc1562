#include "vpd/run/check.hpp"

#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "vpd/io/files.hpp"

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
  command->add_option("--threads", arguments->options.threads, "CPU threads of the run")
      ->check(at_least_one());
  command->add_option("--json", arguments->json, "Also write the report to this file")->check(a_new_file());
  command->footer(
      "Reads the configuration, the target's shapes and every token, and prints the resolved configuration, "
      "parameters, sites, operations of "
      "a step, and the memory that training takes.\n\n"
      "Examples:\n"
      "  vpd check configs/demo/config.yaml\n"
      "  vpd check configs/demo/config.yaml --set training.batch_size=16 --json check.json");
  command->callback([arguments] {
    const CheckReport report = check_run(arguments->options);
    std::cout << check_text(report);
    if (!arguments->json.empty()) write_atomically(arguments->json, check_json(report));
  });
}

}  // namespace vpd
