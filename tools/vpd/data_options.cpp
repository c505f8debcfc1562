#include "data_options.hpp"

#include <string>

#include "command_line.hpp"

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

void add_dry_run_flag(CLI::App& command, bool& dry_run) {
  command.add_flag("--dry-run", dry_run, "Read two batches, say what all would take, and write nothing");
}

void present_forecast(const ReadingForecast& forecast, const std::string& json) {
  warn(forecast.warnings);
  present(forecast_text(forecast), forecast_json(forecast), json);
}

}  // namespace vpd
