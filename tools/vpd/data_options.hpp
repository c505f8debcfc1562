#pragma once

#include <CLI/CLI.hpp>

#include "vpd/run/rows_to_read.hpp"

namespace vpd {

/// The options --tokens, --split and --positions.
void add_rows_options(CLI::App& command, RowsToRead& rows);

}  // namespace vpd
