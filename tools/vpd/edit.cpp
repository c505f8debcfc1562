#include "vpd/run/edit.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "edit_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_edit(CLI::App& app) {
  struct Arguments {
    EditOptions options;
    EditArguments edits;
    std::string tokenizer, out, json;
  };
  auto arguments = std::make_shared<Arguments>();
  EditOptions& options = arguments->options;
  CLI::App* command =
      app.add_subcommand("edit", "Edit the target for good: measure what changes, and write its weights");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_edit_options(*command, arguments->edits);
  command
      ->add_option("--out", arguments->out,
                   "Directory for the edited target; without it effects are measured alone")
      ->check(a_path());
  command->add_option("--wanted", options.wanted,
                      "Tokens that are to become rare, between commas, as in \" he, him\"");
  command
      ->add_option("--controls", options.controls,
                   "Random sets of the same sites and density, edited likewise")
      ->check(at_least_zero())
      ->capture_default_str();
  command
      ->add_option("--measure-positions", options.positions,
                   "Held-out positions that effects are measured on, at most")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_flag("--along-stream", options.along_stream,
                    "Measure whether what edited subcomponents write lies along the residual stream");
  command->add_option(
      "--across", options.across,
      "Boundary tokens, between commas, as in \" and, or\" or #11: measure attention across them");
  command
      ->add_option("--threshold", options.effect.threshold,
                   "Important is where an edited subcomponent's g is above this")
      ->capture_default_str();
  command->add_option("--near", options.effect.near, "Near is within so many tokens of such a position")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--seed", options.effect.seed, "Seed of controls and intervals")->capture_default_str();
  command->add_option("--slug", options.slug, "The result's name, in RUN/interpretation/.../edits")
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the result");
  command->footer(
      "Examples:\n"
      "  vpd edit runs/demo --ablate h.1.mlp.down_proj:39 --wanted \" of\"\n"
      "  vpd edit runs/demo --from edits.yaml --out models/edited");
  command->callback([arguments] {
    EditOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->out.empty()) chosen.out = arguments->out;
    chosen.edits = arguments->edits.specs();
    chosen.command_line = command_line();
    const EditRunResult result =
        watched([&](const Observer& observer) { return edit_run(chosen, observer); });
    warn(result.warnings);
    present(edit_text(result), edit_json(result), arguments->json);
  });
}

}  // namespace vpd
