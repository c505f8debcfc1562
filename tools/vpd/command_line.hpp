#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace vpd {

/// What options take: a path that is not empty; one where a file can be written, which is better known before
/// hours of work than after; a whole number of at least 1, or of at least 0.
CLI::Validator a_path();
CLI::Validator a_new_file();
CLI::Validator at_least_one();
CLI::Validator at_least_zero();

/// How this program was called, quoted so that a shell would call it so again.
std::string command_line();

}  // namespace vpd
