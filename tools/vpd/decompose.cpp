#include "vpd/run/decompose.hpp"

#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"
#include "vpd/base/error.hpp"
#include "vpd/run/status.hpp"

namespace vpd {

void add_decompose(CLI::App& app) {
  auto options = std::make_shared<DecomposeOptions>();
  auto json = std::make_shared<std::string>();
  auto alone = std::make_shared<bool>(false);
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
  command->add_flag(
      "--continue", options->continue_run,
      "Begin the run of --out, or go on with it where it has begun, if the configuration is the same");
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "Step of the checkpoint to go on from; without it the last. Later ones are set aside")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--set", options->overrides, "Override key=value of the configuration (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, options->threads);
  command
      ->add_option_function<double>(
          "--process-timeout",
          [options](double seconds) {
            options->process_timeout = std::chrono::milliseconds(std::llround(1000 * seconds));
          },
          "Seconds that one of several processes waits for the others within a step (600)")
      ->check(CLI::PositiveNumber);
  add_json_option(*command, *json, "how the run stands, with its last figures,");
  command->add_flag("--alone", *alone,
                    "One process alone, whatever variables of torchrun or SLURM are set: for a program that "
                    "a task starts");
  command->footer(
      "Ctrl-C saves and stops, and so do SIGTERM, SIGHUP, SIGUSR1 and other signals; a second Ctrl-C stops "
      "at once,\n"
      "without saving (exit code 131). status.json in the run's directory tells how it stands.\n\n"
      "Examples:\n"
      "  vpd decompose configs/demo/config.yaml --out runs/demo\n"
      "  vpd decompose configs/demo/config.yaml --set training.steps=100 --set "
      "objective.faithfulness.coefficient=1e6\n"
      "  vpd decompose --resume runs/demo\n"
      "  vpd decompose configs/demo/config.yaml --out runs/demo --continue   # in a job that may be "
      "restarted\n"
      "  torchrun --nproc-per-node 8 --no-python vpd decompose configs/pile_4l.yaml --out runs/pile_4l");
  command->callback([options, json, alone] {
    if (!*alone) options->launch = launch_of_environment();
    options->command_line = command_line();
    Terminal terminal(*json == "-" ? STDERR_FILENO : STDOUT_FILENO);
    std::filesystem::path run;
    Observer observer{.say = [&](const std::string& line) { terminal.say(line); },
                      .status = {},
                      .stop = interrupted,
                      .began =
                          [&](const std::filesystem::path& path) {
                            run = path;
                            when_stopped_at_once([path] { note_stopped_at_once(path, stopped_at_once); });
                          }};
    if (terminal.is_terminal()) observer.status = [&](const std::string& line) { terminal.status(line); };
    const auto report = [&] {
      if (!json->empty() && !run.empty()) present("", run_json(run), *json);
    };
    watch_interrupts("saving and stopping");
    try {
      decompose(*options, observer);
    } catch (const Error&) {
      report();
      throw;
    }
    report();
  });
}

}  // namespace vpd
