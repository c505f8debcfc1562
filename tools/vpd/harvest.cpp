#include "vpd/run/harvest.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"
#include "interrupt.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

/// A word, or a number of at least 1; `words` names all that the option takes.
std::int64_t word_or_number(const std::string& option, const std::string& text, std::int64_t word_value,
                            const std::string& word, const std::string& words) {
  if (text == word) return word_value;
  std::size_t end = 0;
  std::int64_t number = 0;
  try {
    number = std::stoll(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  VPD_CHECK(end > 0 && end == text.size() && number >= 1, UsageError,
            "{}: expected {} or a whole number of at least 1, found \"{}\"", option, words, text);
  return number;
}

}  // namespace

void add_harvest(CLI::App& app) {
  struct Arguments {
    HarvestOptions options;
    std::string tokens, output_tokens, coactivation = "100", shard, sparse, json;
    std::int64_t save_every = 300;
    double positions = 0.0;
    bool dry_run = false, alone = false;
  };
  auto arguments = std::make_shared<Arguments>();
  HarvestOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("harvest", "Gather evidence for every subcomponent of a run");
  add_run_options(*command, options);
  CLI::Option* tokens = command->add_option("--tokens", arguments->tokens,
                                            "Token files to read in place of the run's held-out rows");
  command->add_option("--split", options.split, "Rows of the run to read: eval (without it) or train")
      ->excludes(tokens);
  command->add_option("--positions", arguments->positions, "Positions to read at most; without it a million")
      ->check(CLI::Range(1.0, 1e15));
  command
      ->add_option("--threshold", options.settings.threshold,
                   "A subcomponent fires where its causal importance is above this")
      ->capture_default_str();
  command->add_option("--window", options.settings.window, "Positions of an example on each side")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command
      ->add_option("--examples", options.settings.examples, "Examples of each sign that are drawn at random")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command
      ->add_option("--strongest", options.settings.strongest,
                   "Examples besides, of the largest importance times activation")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command->add_option(
      "--output-tokens", arguments->output_tokens,
      "What the model says: exact, or a number of its most probable tokens; without it exact where "
      "that is small, else 50");
  command
      ->add_option("--coactivation", arguments->coactivation,
                   "Partners kept of a subcomponent: a number, all or none")
      ->capture_default_str();
  command->add_option("--sparse", arguments->sparse,
                      "Write every firing to this directory, too, as delphi reads it");
  command->add_option("--batch-size", options.batch_rows, "Rows computed with at once")
      ->check(at_least_one());
  command
      ->add_option("--save-every", arguments->save_every,
                   "Seconds between two states that a harvest can go on from")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--shard", arguments->shard, "Harvest part I of N alone, as in 2/8 (from 0/8 to 7/8)");
  command->add_flag("--merge", options.merge, "Put the parts of all shards together");
  command->add_option("--seed", options.settings.seed, "Seed of the examples that are drawn")
      ->capture_default_str();
  command->add_flag("--alone", arguments->alone, "Be one process alone, whatever launcher started it");
  command->add_flag("--dry-run", arguments->dry_run, "Say what it would take, and do nothing");
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd harvest runs/demo\n"
      "  vpd harvest runs/demo --tokens data/more.bin --positions 1e6 --dry-run\n"
      "  torchrun --nproc-per-node 8 --no-python vpd harvest runs/pile --positions 1e8");
  command->callback([arguments] {
    HarvestOptions& chosen = arguments->options;
    if (!arguments->tokens.empty()) chosen.tokens = arguments->tokens;
    if (arguments->positions >= 1.0) chosen.positions = static_cast<std::int64_t>(arguments->positions);
    if (!arguments->output_tokens.empty())
      chosen.output_tokens =
          word_or_number("--output-tokens", arguments->output_tokens, 0, "exact", "\"exact\"");
    chosen.partners =
        arguments->coactivation == "none"
            ? -1
            : word_or_number("--coactivation", arguments->coactivation, 0, "all", "\"all\", \"none\"");
    if (!arguments->shard.empty()) chosen.shard = shard_of(arguments->shard);
    if (!arguments->sparse.empty()) chosen.sparse = arguments->sparse;
    chosen.save_every = std::chrono::seconds(arguments->save_every);
    chosen.command_line = command_line();
    if (!arguments->alone) chosen.launch = launch_of_environment();
    watch_interrupts("stopping");
    const auto watched = [&](const auto& job) {
      Activity activity;
      Observer observer = activity.observer();
      observer.stop = interrupted;
      return job(observer);
    };
    if (arguments->dry_run) {
      const HarvestForecast forecast =
          watched([&](const Observer& observer) { return forecast_harvest(chosen, observer); });
      warn(forecast.warnings);
      present(forecast_text(forecast), forecast_json(forecast), arguments->json);
      return;
    }
    const HarvestResult result =
        watched([&](const Observer& observer) { return harvest_run(chosen, observer); });
    if (chosen.launch.rank > 0) return;
    warn(result.warnings);
    present(harvest_text(result), harvest_json(result), arguments->json);
  });
}

}  // namespace vpd
