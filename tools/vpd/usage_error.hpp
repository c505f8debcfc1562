#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace vpd {

/// A command line that `app` could not parse, as a sentence: what was expected, what was found, and the
/// nearest name.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv);

}  // namespace vpd
