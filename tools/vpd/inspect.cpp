#include "vpd/run/inspect.hpp"

#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

void add_inspect(CLI::App& app) {
  struct Arguments {
    std::string path, json;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("inspect", "Say what a file or directory contains");
  command
      ->add_option("path", arguments->path,
                   "A run, checkpoint or target directory, token files (.bin, .npy; a directory or quoted "
                   "shell pattern of them), a .safetensors "
                   "file, or a tokenizer.json")
      ->required();
  command->add_option("--json", arguments->json, "Also write what was found to this file")
      ->check(a_new_file());
  command->footer(
      "Examples:\n"
      "  vpd inspect runs/demo\n"
      "  vpd inspect runs/demo/checkpoints/latest\n"
      "  vpd inspect configs/demo/train.bin --json tokens.json");
  command->callback([arguments] {
    const Inspection found = inspect(arguments->path);
    std::cout << found.text;
    if (!arguments->json.empty()) write_atomically(arguments->json, found.json);
  });
}

}  // namespace vpd
