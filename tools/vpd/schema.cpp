#include <memory>

#include <CLI/CLI.hpp>

#include "commands.hpp"
#include "output.hpp"
#include "vpd/config/pretrain.hpp"
#include "vpd/config/run.hpp"

namespace vpd {

void add_schema(CLI::App& app) {
  struct Arguments {
    bool pretrain = false, markdown = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("schema", "Print the JSON Schema of the configuration");
  command->add_flag("--pretrain", arguments->pretrain, "Of the configuration of vpd pretrain");
  command->add_flag("--markdown", arguments->markdown, "A page of Markdown instead");
  command->footer(
      "Generated from the declarations that read the file.\n\n"
      "Examples:\n"
      "  vpd schema > vpd.schema.json\n"
      "  vpd schema --pretrain --markdown");
  command->callback([arguments] {
    if (arguments->markdown) {
      print(arguments->pretrain ? pretrain_reference_markdown() : reference_markdown());
    } else {
      print(arguments->pretrain ? pretrain_json_schema() : json_schema());
    }
  });
}

}  // namespace vpd
