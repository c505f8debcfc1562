#include "vpd/run/decompose.hpp"

#include <chrono>
#include <cmath>
#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"

namespace vpd {

void add_decompose(CLI::App& app) {
  auto options = std::make_shared<DecomposeOptions>();
  CLI::App* command =
      app.add_subcommand("decompose", "Decompose a model's weights, or go on with a run that was stopped");
  command->add_option("config", options->config, "Configuration, YAML or JSON; not needed with --resume");
  command
      ->add_option("--out", options->out,
                   "Directory of the new run; without it runs/<name of config>-<date>-<time>")
      ->check(a_path());
  command
      ->add_option("--resume", options->resume,
                   "Run directory to go on with, from its last complete checkpoint")
      ->check(a_path());
  command->add_option("--set", options->overrides, "Override key=value of the configuration (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N");
  command->add_option("--threads", options->threads, "CPU threads; without it as many as there are cores")
      ->check(at_least_one());
  command
      ->add_option_function<double>(
          "--process-timeout",
          [options](double seconds) {
            options->process_timeout = std::chrono::milliseconds(std::llround(1000 * seconds));
          },
          "Seconds that one of several processes waits for the others within a step (600)")
      ->check(CLI::PositiveNumber);
  command->footer(
      "Ctrl-C (or SIGTERM, or a terminal that closes) saves and stops; a second one stops at once.\n\n"
      "Examples:\n"
      "  vpd decompose configs/demo/config.yaml --out runs/demo\n"
      "  vpd decompose configs/demo/config.yaml --set training.steps=100 --set objective.0.coefficient=1e6\n"
      "  vpd decompose --resume runs/demo\n"
      "  torchrun --nproc-per-node 8 --no-python vpd decompose configs/pile_4l.yaml --out runs/pile_4l");
  command->callback([options] {
    options->launch = launch_of_environment();
    options->command_line = command_line();
    Terminal terminal;
    Observer observer{
        .say = [&](const std::string& line) { terminal.say(line); }, .status = {}, .stop = interrupted};
    if (terminal.is_terminal()) observer.status = [&](const std::string& line) { terminal.status(line); };
    watch_interrupts();
    decompose(*options, observer);
  });
}

}  // namespace vpd
