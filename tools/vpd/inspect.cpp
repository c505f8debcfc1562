#include "vpd/run/inspect.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"

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
  add_json_option(*command, arguments->json, "what was found");
  command->footer(
      "Examples:\n"
      "  vpd inspect runs/demo\n"
      "  vpd inspect runs/demo/checkpoints/latest\n"
      "  vpd inspect configs/demo/train.bin --json tokens.json");
  command->callback([arguments] {
    const Inspection found = [&] {
      Activity activity;
      return inspect(arguments->path, activity.observer());
    }();
    present(found.text, found.json, arguments->json);
  });
}

}  // namespace vpd
