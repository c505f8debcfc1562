#include <cstdlib>
#include <sstream>
#include <system_error>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "command_line.hpp"
#include "commands.hpp"
#include "help_format.hpp"
#include "output.hpp"
#include "usage_error.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/machine/memory.hpp"
#include "vpd/run/failure.hpp"

namespace {

/// Words of a damaged file or of a path that a message quotes must not steer the terminal.
void say(const std::string& text) {
  static_cast<void>(vpd::write_all(STDERR_FILENO, "vpd: " + vpd::printable(text) + "\n"));
}

int complain(const std::string& sentence, int exit_code) {
  say("error: " + sentence);
  return exit_code;
}

int run(int argc, char** argv) {
  CLI::App app("Adversarial parameter decomposition of neural networks", "vpd");
  app.formatter(std::make_shared<vpd::HelpFormat>());
  app.set_version_flag("--version", fmt::format("vpd {} ({})", vpd::version(), vpd::git_revision()));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 2 usage or configuration, 3 data or files, 4 numerical failure, 130 "
      "interrupted and saved, 131 stopped at once by a second Ctrl-C.\n\n"
      "Examples:\n"
      "  vpd check configs/demo/config.yaml\n"
      "  vpd decompose configs/demo/config.yaml --out runs/demo\n"
      "  vpd evaluate runs/demo");
  vpd::add_decompose(app);
  vpd::add_evaluate(app);
  vpd::add_check(app);
  vpd::add_check_health(app);
  vpd::add_import(app);
  vpd::add_harvest(app);
  vpd::add_find(app);
  vpd::add_cluster(app);
  vpd::add_show(app);
  vpd::add_labels(app);
  vpd::add_intervene(app);
  vpd::add_edit(app);
  vpd::add_audit(app);
  vpd::add_unlearn(app);
  vpd::add_graph(app);
  vpd::add_explain(app);
  vpd::add_graph_diff(app);
  vpd::add_attention(app);
  vpd::add_attributions(app);
  vpd::add_interactions(app);
  vpd::add_report(app);
  vpd::add_sample(app);
  vpd::add_inspect(app);
  vpd::add_schema(app);
  vpd::add_pretrain(app);
  vpd::add_selftest(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    std::ostringstream text;
    const int exit_code = app.exit(success, text);
    vpd::print(text.str());
    return exit_code;
  } catch (const CLI::ParseError& error) {
    return complain(vpd::usage_error(app, error, argc, argv), 2);
  }
  return 0;
}

/// Runs the program and turns whatever ends it into a sentence and an exit code.
int guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const vpd::Interrupted& interrupted) {
    say(interrupted.what());
    return interrupted.exit_code();
  } catch (const std::exception& error) {
    const vpd::Failure failure = vpd::describe_failure(error);
    return complain(failure.sentence, failure.exit_code);
  }
}

}  // namespace

int main(int argc, char** argv) {
  vpd::open_standard_streams();
  vpd::keep_freed_memory();
  vpd::keep_command_line(argc, argv);
  int exit_code = guarded(argc, argv);
  if (const int error = vpd::print_error(); error != 0 && exit_code == 0)
    exit_code = complain(
        fmt::format("cannot write to standard output: {}", std::generic_category().message(error)), 3);
  // Everything of ours is closed by now. LibTorch would spend a third of a second, and more memory than a
  // small run ever held, on emptying registries that end with the process anyway.
  std::_Exit(exit_code);
}
