#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <new>

#include <CLI/CLI.hpp>
#include <c10/util/Exception.h>

#include "commands.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/run/machine.hpp"

namespace {

/// Bytes of a damaged file that a message quotes must not steer the terminal.
int complain(std::string sentence, int exit_code) {
  std::replace_if(
      sentence.begin(), sentence.end(), [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; },
      '?');
  std::fflush(stdout);
  std::fprintf(stderr, "vpd: error: %s\n", sentence.c_str());
  return exit_code;
}

constexpr const char* memory_cure =
    "set training.micro_batch_size to a divisor of batch_size, lower evaluation.batch_size, or lower the "
    "sites' "
    "C; vpd check predicts what a configuration takes";

int run(int argc, char** argv) {
  CLI::App app("Adversarial parameter decomposition of neural networks", "vpd");
  app.set_version_flag("--version", fmt::format("vpd {} ({})", vpd::version(), vpd::git_revision()));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 2 usage or configuration, 3 data or files, 4 numerical failure, 130 "
      "interrupted.\n\n"
      "Examples:\n"
      "  vpd check configs/demo/config.yaml\n"
      "  vpd decompose configs/demo/config.yaml --out runs/demo\n"
      "  vpd evaluate runs/demo");
  vpd::add_decompose(app);
  vpd::add_evaluate(app);
  vpd::add_check(app);
  vpd::add_check_health(app);
  vpd::add_import(app);
  vpd::add_inspect(app);
  vpd::add_schema(app);
  vpd::add_pretrain(app);
  vpd::add_selftest(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
      std::vector<std::string> names;
      for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
      const auto close = vpd::nearest(argv[1], names);
      return complain(fmt::format("expected a subcommand ({}), found \"{}\"{}", vpd::join_words(names),
                                  argv[1], close ? fmt::format("; did you mean \"{}\"?", *close) : ""),
                      2);
    }
    const CLI::App* asked = app.get_subcommands().empty() ? &app : app.get_subcommands().front();
    return complain(
        fmt::format("{}: see {} --help", error.what(), asked == &app ? "vpd" : "vpd " + asked->get_name()),
        2);
  }
  return 0;
}

/// Runs the program and turns whatever ends it into a sentence and an exit code.
int guarded(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const vpd::Interrupted& interrupted) {
    std::fflush(stdout);
    std::fprintf(stderr, "vpd: %s\n", interrupted.what());
    return interrupted.exit_code();
  } catch (const vpd::Error& error) {
    return complain(error.what(), error.exit_code());
  } catch (const std::filesystem::filesystem_error& error) {
    return complain(error.what(), 3);
  } catch (const c10::OutOfMemoryError&) {
    return complain(fmt::format("the GPU's memory does not suffice: {}", memory_cure), 3);
  } catch (const std::bad_alloc&) {
    return complain(fmt::format("the memory does not suffice: {}", memory_cure), 3);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (text.find("DefaultCPUAllocator") != std::string::npos) {
      return complain(fmt::format("the memory does not suffice: {}", memory_cure), 3);
    }
    return complain(fmt::format("LibTorch failed, which is a defect of vpd: {}", text), 1);
  } catch (const std::exception& error) {
    return complain(fmt::format("unexpected, which is a defect of vpd: {}", error.what()), 1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  vpd::keep_freed_memory();
  int exit_code = guarded(argc, argv);
  const bool written =
      static_cast<bool>(std::cout.flush()) && std::fflush(stdout) == 0 && !std::ferror(stdout);
  if (!written && exit_code == 0)
    exit_code = complain("cannot write to standard output: is the disk full?", 3);
  std::fflush(nullptr);
  // Everything of ours is closed by now. LibTorch would spend a third of a second, and more memory than a
  // small run ever held, on emptying registries that end with the process anyway.
  std::_Exit(exit_code);
}
