#include "data_options.hpp"

#include <string>

namespace vpd {

void add_rows_options(CLI::App& command, RowsToRead& rows) {
  CLI::Option* tokens = command.add_option_function<std::string>(
      "--tokens", [&rows](const std::string& path) { rows.tokens = path; },
      "Token files to read in place of the run's held-out rows");
  command.add_option("--split", rows.split, "Rows of the run to read: eval (without it) or train")
      ->excludes(tokens);
  command
      .add_option_function<double>(
          "--positions", [&rows](double positions) { rows.positions = static_cast<std::int64_t>(positions); },
          "Positions to read at most; without it " + std::to_string(rows.positions))
      ->check(CLI::Range(1.0, 1e15));
}

}  // namespace vpd
