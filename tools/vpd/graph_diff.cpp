#include "vpd/run/graph_diff.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"

namespace vpd {

void add_graph_diff(CLI::App& app) {
  struct Arguments {
    GraphDiffOptions options;
    std::string a, b, run, align = "start", json;
  };
  auto arguments = std::make_shared<Arguments>();
  GraphDiffOptions& options = arguments->options;
  CLI::App* command = app.add_subcommand(
      "graph-diff", "What two graphs of prompts share: subcomponents at positions, and edges");
  command->add_option("a", arguments->a, "A directory that vpd graph left, or, with --run, its name")
      ->required()
      ->check(a_path());
  command->add_option("b", arguments->b, "Another")->required()->check(a_path());
  command->add_option("--run", arguments->run, "The run in which A and B are names of graphs")
      ->check(a_path());
  command->add_option("--checkpoint", options.checkpoint, "Of --run: its step; without it the latest");
  command
      ->add_option("--align", arguments->align,
                   "Which ends of the prompts stand beside each other: start or end")
      ->check(CLI::IsMember({"start", "end"}))
      ->capture_default_str();
  command->add_option("--rule", options.rule,
                      "Whose edges are compared, published or complete; without it those of A");
  command->add_option("--top", options.most, "Nodes of each list that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--slug", options.slug,
                      "Keep the result by that name, in graph_diffs beside A's graphs, for vpd report");
  add_json_option(*command, arguments->json, "what they share");
  command->footer(
      "Examples:\n"
      "  vpd graph-diff king queen --run runs/demo --align end\n"
      "  vpd graph-diff a/interpretation/step_00010000/graphs/king other/graphs/king");
  command->callback([arguments] {
    GraphDiffOptions& chosen = arguments->options;
    chosen.a = arguments->a;
    chosen.b = arguments->b;
    if (!arguments->run.empty()) chosen.run = arguments->run;
    chosen.from_end = arguments->align == "end";
    chosen.command_line = command_line();
    const GraphDiff diff = graph_diff(chosen);
    present(graph_diff_text(diff), graph_diff_json(diff), arguments->json);
  });
}

}  // namespace vpd
