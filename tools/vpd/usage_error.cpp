#include "usage_error.hpp"

#include <algorithm>
#include <optional>
#include <string_view>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/text.hpp"

namespace vpd {
namespace {

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names = {"--help"};
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// "; did you mean --prompts in place of --promts?", of the first option that the command does not have, or,
/// where none is near, that it has none of that name: it may be why another one is missing.
std::string misspelt(const CLI::App& command, int argc, char** argv) {
  const std::vector<std::string> names = options_of(command);
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = std::string_view(argv[i]).substr(0, std::string_view(argv[i]).find('='));
    if (word == "--") break;  // what follows are no options
    if (!word.starts_with("--") || std::find(names.begin(), names.end(), word) != names.end()) continue;
    const auto close = nearest(word, names);
    return close ? fmt::format("; did you mean {} in place of {}?", *close, word)
                 : fmt::format("; it has no option {}", word);
  }
  return "";
}

/// `found`: the word in place of one, or null.
std::string of_subcommands(const std::vector<const CLI::App*>& commands, const char* found) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands) names.push_back(command->get_name());
  const std::string expected = fmt::format("expected a subcommand ({})", join_words(names));
  if (!found) return expected + ", found none";
  const auto close = nearest(found, names);
  return fmt::format("{}, found \"{}\"{}", expected, found,
                     close ? fmt::format("; did you mean \"{}\"?", *close) : "");
}

/// Of words that no option takes: the first option that is none, or the first that are too many.
std::string of_extras(const CLI::App& command, const std::vector<std::string>& extras) {
  for (const std::string& extra : extras) {
    if (!extra.starts_with("-")) continue;
    const std::string word = extra.substr(0, extra.find('='));
    const auto close = nearest(word, options_of(command));
    return fmt::format("expected one of its options, found {}{}", word,
                       close ? fmt::format("; did you mean {}?", *close) : "");
  }
  return fmt::format("expected no further argument, found {}", join_words(extras, " "));
}

/// CLI11 says "Could not convert: --budget = nine".
std::optional<std::string> of_conversion(const CLI::App& command, std::string_view said) {
  constexpr std::string_view begin = "Could not convert: ", between = " = ";
  const std::size_t at = said.find(between);
  if (!said.starts_with(begin) || at == std::string_view::npos) return std::nullopt;
  const std::string name(said.substr(begin.size(), at - begin.size()));
  std::string kind = "another value";
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_name() != name) continue;
    const std::string type = option->get_type_name().substr(0, option->get_type_name().find(':'));
    if (type == "INT") kind = "a whole number";
    if (type == "UINT") kind = "a whole number of at least 0";
    if (type == "FLOAT") kind = "a number";
  }
  return fmt::format("{}: expected {}, found {}", name, kind, said.substr(at + between.size()));
}

}  // namespace

std::string usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App* asked = &app;
  std::string name = "vpd";
  int words = 1;
  for (; !asked->get_subcommands().empty(); ++words) {
    asked = asked->get_subcommands().front();
    name += " " + asked->get_name();
  }
  if (const auto commands = asked->get_subcommands({}); !commands.empty())
    return fmt::format("{} (see {} --help)", of_subcommands(commands, words < argc ? argv[words] : nullptr),
                       name);
  if (dynamic_cast<const CLI::ExtrasError*>(&error))
    return fmt::format("{}: {} (see {} --help)", name, of_extras(*asked, app.remaining(true)), name);
  if (const auto sentence = of_conversion(*asked, error.what()))
    return fmt::format("{} (see {} --help)", *sentence, name);
  return fmt::format("{}{} (see {} --help)", error.what(), misspelt(*asked, argc, argv), name);
}

}  // namespace vpd
