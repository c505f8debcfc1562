#include "vpd/run/show.hpp"

#include <cstdlib>
#include <memory>

#include <CLI/CLI.hpp>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "output.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

/// Columns of the terminal, 100 at most.
int terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40;
  return known ? std::min<int>(size.ws_col, 100) : 100;
}

}  // namespace

void add_show(CLI::App& app) {
  struct Arguments {
    ShowOptions options;
    std::string tokenizer, json, colour = "auto";
  };
  auto arguments = std::make_shared<Arguments>();
  ShowOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("show", "Show one subcomponent: facts, tokens, partners and examples");
  add_harvest_options(*command, options, arguments->tokenizer);
  command->add_option("subcomponent", options.key, "As in h.0.mlp.c_fc:12")->required();
  command->add_option("--examples", options.examples, "Examples of each kind")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--top", options.tokens, "Tokens of each ranking, and partners")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--min-count", options.min_count, "Leave out tokens that come less often")
      ->check(at_least_zero())
      ->capture_default_str();
  command
      ->add_option("--color", arguments->colour,
                   "Importance by colour: auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the result");
  command->footer("Example:\n  vpd show runs/demo h.1.attn.q_proj:12");
  command->callback([arguments] {
    ShowOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    const ShownSubcomponent shown = show_subcomponent(chosen);
    if (arguments->json == "-") return present({}, show_json(shown), "-");
    const bool plain = std::getenv("NO_COLOR") != nullptr || ::isatty(STDOUT_FILENO) == 0;
    const bool colour = arguments->colour == "always" || (arguments->colour == "auto" && !plain);
    print(show_text(shown, colour, terminal_width()));
    if (!arguments->json.empty()) write_atomically(arguments->json, show_json(shown));
  });
}

}  // namespace vpd
