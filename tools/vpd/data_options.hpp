#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "vpd/run/reading_forecast.hpp"
#include "vpd/run/rows_to_read.hpp"

namespace vpd {

/// The options --tokens, --split and --positions.
void add_rows_options(CLI::App& command, RowsToRead& rows);

/// The flag --dry-run of a command that sums over data, and what it prints.
void add_dry_run_flag(CLI::App& command, bool& dry_run);
void present_forecast(const ReadingForecast& forecast, const std::string& json);

}  // namespace vpd
