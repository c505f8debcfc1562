#include "vpd/run/audit.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "prompt_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_audit(CLI::App& app) {
  struct Arguments {
    AuditOptions options;
    std::string tokenizer, from = "screen", json;
  };
  auto arguments = std::make_shared<Arguments>();
  AuditOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand("audit", "Rank subcomponents by how much a behaviour hangs on them");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_prompt_options(*command, options.prompts);
  add_candidate_options(*command, options.settings, arguments->from);
  command->add_option("--top", options.most, "How many are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--seed", options.settings.seed, "Seed of the intervals")->capture_default_str();
  command->add_option("--slug", options.slug, "The result's name, in RUN/interpretation/.../audits")
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the ranking");
  command->footer(
      "Example:\n  vpd audit runs/demo --prompts of_after_plurals.jsonl --against other_text.jsonl");
  command->callback([arguments] {
    AuditOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    chosen.settings.from = candidates_from(arguments->from);
    chosen.command_line = command_line();
    const AuditRunResult result =
        watched([&](const Observer& observer) { return audit_run(chosen, observer); });
    warn(result.warnings);
    present(audit_text(result), audit_json(result), arguments->json);
  });
}

}  // namespace vpd
