#include "vpd/import/import.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "activity.hpp"
#include "command_line.hpp"
#include "commands.hpp"

namespace vpd {

void add_import(CLI::App& app) {
  struct Arguments {
    ImportOptions options;
    std::string json;
  };
  auto arguments = std::make_shared<Arguments>();
  ImportOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "import", "Convert a target or a decomposition of the original PyTorch code (.pt, .pth)");
  command
      ->add_option("path", options.path, "A checkpoint, or a directory of them; what it is, its tensors say")
      ->required();
  command
      ->add_option("--out", options.out,
                   "Directory of the result, new or empty: a target's, or a run's that vpd evaluate takes")
      ->check(a_path())
      ->required();
  command->add_option("--target", options.target,
                      "Of a run: the target's directory or its model_config.yaml, which says how many heads "
                      "there are; without it the "
                      "run's surroundings are searched");
  command->add_option(
      "--tokens", options.tokens,
      "Of a run: tokens to evaluate and train on, a .bin or .npy file, a directory or a quoted "
      "shell pattern of them");
  command->add_option("--step", options.step, "Of a directory: step of the checkpoint; without it the last")
      ->check(CLI::NonNegativeNumber);
  add_json_option(*command, arguments->json, "what was converted");
  command->footer(
      "Nothing that a file contains is run: of its pickle, tensors, numbers, texts, lists, tuples and "
      "dictionaries are read, and everything else is passed over. Checkpoints in Hugging Face's layout need "
      "no "
      "import.\n\n"
      "Examples:\n"
      "  vpd import goodfire/t-9d2b8f02 --out models/pile_4l\n"
      "  vpd import goodfire/s-55ea3f9b --target models/pile_4l --tokens data/val.bin --out runs/pile_4l\n"
      "  vpd evaluate runs/pile_4l");
  command->callback([arguments] {
    arguments->options.command_line = command_line();
    const ImportSummary summary = [&] {
      Activity activity;
      return import_artefact(arguments->options, activity.observer());
    }();
    warn(summary.warnings);
    present(import_text(summary), import_json(summary), arguments->json);
  });
}

}  // namespace vpd
