#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "vpd/base/observer.hpp"

namespace vpd {

/// What options take: a path that is not empty; a file that is there; a whole number of at least 1, or of at
/// least 0.
CLI::Validator a_path();
CLI::Validator a_file();
CLI::Validator at_least_one();
CLI::Validator at_least_zero();

/// The option --threads, which takes no more than this process could sensibly start.
void add_threads_option(CLI::App& command, int& threads);

/// The option --tokenizer.
void add_tokenizer_option(CLI::App& command, std::string& tokenizer);

/// Which run, which checkpoint of it, and where to compute: what every command that opens a run takes.
template <class Options>
void add_run_options(CLI::App& command, Options& options) {
  command.add_option("run", options.run, "Run directory")->required();
  command.add_option("--checkpoint", options.checkpoint, "Step of the checkpoint; without it the latest");
  command
      .add_option("--set", options.overrides, "Override key=value of the run's configuration (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--device", options.device, "auto, cpu, cuda or cuda:N");
  add_threads_option(command, options.threads);
}

/// Which run's harvest, and its tokenizer: what commands take that only read its tables.
template <class Options>
void add_harvest_options(CLI::App& command, Options& options, std::string& tokenizer) {
  command.add_option("run", options.run, "Run directory")->required();
  command.add_option("--checkpoint", options.checkpoint,
                     "Step of the checkpoint; without it the last that has a harvest");
  add_tokenizer_option(command, tokenizer);
}

/// "5,8,9" of an option. Throws UsageError.
std::vector<std::int64_t> numbers_between_commas(const std::string& option, const std::string& text);

/// The option --json, which takes a place where a file can be written (better known before hours of work than
/// after), or "-". `what` it writes is named in its description.
void add_json_option(CLI::App& command, std::string& place, const std::string& what);

/// What a command found: `text` for people, on standard output, and `json` at `place` unless that is empty;
/// at
/// "-" it is standard output, without the text. Throws DataError.
void present(const std::string& text, const std::string& json, const std::string& place);

/// Each warning as a line on standard error.
void warn(const std::vector<std::string>& warnings);

/// How this program was called, quoted so that a shell would call it so again: what main() kept.
const std::string& command_line();
void keep_command_line(int argc, char** argv);

}  // namespace vpd
