#include "vpd/run/selftest.hpp"

#include <memory>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "output.hpp"
#include "terminal.hpp"
#include "vpd/base/error.hpp"

namespace vpd {

void add_selftest(CLI::App& app) {
  struct Arguments {
    SelftestOptions options;
    int attempts = 2;
    std::string json;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("selftest", "Say whether this installation recovers mechanisms that are known");
  command->add_option("--seed", arguments->options.seed, "Of the toy model and of its decomposition")
      ->check(at_least_zero());
  command
      ->add_option("--attempts", arguments->attempts,
                   "Seeds to try, one after the other, until one recovers the truth (2)")
      ->check(at_least_one());
  command
      ->add_option("--out", arguments->options.out,
                   "Keep the toy model and the run of each seed in a directory seed_N in this one; without "
                   "it they are removed")
      ->check(a_path());
  command
      ->add_option("--set", arguments->options.overrides,
                   "Override key=value of the decomposition's configuration (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--device", arguments->options.device, "auto, cpu, cuda or cuda:N");
  add_threads_option(*command, arguments->options.threads);
  add_json_option(*command, arguments->json, "the figures");
  command->footer(
      "Trains a toy model of superposition (5 features in 2 dimensions), decomposes it, and compares what "
      "was found with the model's features. Where a seed ends in a local optimum, in which one subcomponent "
      "does what two should, the next one is tried. Exit code 4 where none recovers the truth.\n\n"
      "Examples:\n"
      "  vpd selftest\n"
      "  vpd selftest --seed 3 --json figures.json");
  command->callback([arguments] {
    SelftestReport report;
    watch_interrupts("stopping");
    for (int attempt = 0; attempt < arguments->attempts && !report.recovered(); ++attempt) {
      SelftestOptions options = arguments->options;
      options.seed += static_cast<std::uint64_t>(attempt);
      if (options.out) *options.out /= "seed_" + std::to_string(options.seed);
      {
        Terminal terminal(arguments->json == "-" ? STDERR_FILENO : STDOUT_FILENO);
        Observer observer{
            .say = [&](const std::string& line) { terminal.say(line); }, .status = {}, .stop = interrupted};
        if (terminal.is_terminal()) observer.status = [&](const std::string& line) { terminal.status(line); };
        report = selftest(options, observer);
      }
      if (arguments->json != "-") print(selftest_text(report));
    }
    present("", selftest_json(report), arguments->json);
    VPD_CHECK(
        report.recovered(), NumericalError,
        "the decomposition of a toy model is not the known one: see the figures; try another --seed, and if "
        "those fail too the build or the machine computes wrongly");
  });
}

}  // namespace vpd
