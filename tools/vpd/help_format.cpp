#include "help_format.hpp"

#include <sstream>

namespace vpd {
namespace {

constexpr std::size_t help_columns = 100;

/// Broken between words, where a line of it is longer than that.
std::string wrapped(const std::string& text, std::size_t columns) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!out.empty()) out += '\n';
    while (line.size() > columns && line.front() != ' ') {
      std::size_t space = line.rfind(' ', columns);
      if (space == std::string::npos) space = line.find(' ');
      if (space == std::string::npos) break;
      out += line.substr(0, space) + '\n';
      line.erase(0, space + 1);
    }
    out += line;
  }
  if (text.ends_with('\n')) out += '\n';
  return out;
}

}  // namespace

std::string HelpFormat::make_description(const CLI::App* app) const {
  return wrapped(Formatter::make_description(app), help_columns);
}

std::string HelpFormat::make_footer(const CLI::App* app) const {
  return wrapped(Formatter::make_footer(app), help_columns);
}

std::string HelpFormat::make_subcommand(const CLI::App* command) const {
  std::ostringstream out;
  CLI::detail::format_help(out, command->get_display_name(true),
                           wrapped(command->get_description(), help_columns - column_width_), column_width_);
  return out.str();
}

std::string HelpFormat::make_option_desc(const CLI::Option* option) const {
  return wrapped(Formatter::make_option_desc(option), help_columns - column_width_);
}

}  // namespace vpd
