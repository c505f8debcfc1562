#pragma once

#include <CLI/CLI.hpp>

namespace vpd {

/// How `--help` looks: as CLI11 writes it, in lines of at most 100 columns. Lines that begin with a space are
/// commands to copy and stay whole.
class HelpFormat : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override;
  std::string make_footer(const CLI::App* app) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace vpd
