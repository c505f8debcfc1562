#include "vpd/run/pretrain.hpp"

#include <memory>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

void add_pretrain(CLI::App& app) {
  auto options = std::make_shared<PretrainOptions>();
  CLI::App* command = app.add_subcommand("pretrain", "Train a target from random weights");
  command->add_option("config", options->config, "Configuration of the pretraining, YAML or JSON")
      ->required();
  command
      ->add_option("--out", options->out,
                   "Directory of the target, new or empty: model_config.json, model.safetensors, "
                   "pretrain.json, metrics.jsonl")
      ->check(a_path())
      ->required();
  command->add_option("--set", options->overrides, "Override key=value of the configuration (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, options->threads);
  command->footer(
      "Ctrl-C (or SIGTERM, SIGHUP, SIGUSR1 ...) writes the target as it is then and stops; a second Ctrl-C "
      "stops at once.\n"
      "With training.steps=0 the target is random.\n\n"
      "Examples:\n"
      "  vpd pretrain configs/demo/target.yaml --out models/demo\n"
      "  vpd pretrain configs/pile_4l_target.yaml --out models/pile_4l --set training.steps=0");
  command->callback([options] {
    Terminal terminal(STDOUT_FILENO);
    const Observer observer{
        .say = [&](const std::string& line) { terminal.say(line); }, .status = {}, .stop = interrupted};
    watch_interrupts("writing the target as it is and stopping");
    const PretrainSummary summary = pretrain(*options, observer);
    terminal.say(fmt::format("{} steps; the target is in {}", summary.steps, options->out.string()));
  });
}

}  // namespace vpd
