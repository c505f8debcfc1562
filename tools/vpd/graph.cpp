#include "vpd/run/graph.hpp"

#include <memory>

#include <CLI/CLI.hpp>

#include "command_line.hpp"
#include "commands.hpp"
#include "prompt_options.hpp"
#include "watched.hpp"

namespace vpd {

void add_graph(CLI::App& app) {
  struct Arguments {
    GraphOptions options;
    std::string tokenizer, tokens, masks = "adversarial", rule = "published", schedule = "cosine",
                                   rest = "random", json;
  };
  auto arguments = std::make_shared<Arguments>();
  GraphOptions& options = arguments->options;
  PruneSettings& pruning = options.pruning;
  CLI::App* command = app.add_subcommand(
      "graph", "Which subcomponents made the model say this, and how they feed each other");
  add_run_options(*command, options);
  add_tokenizer_option(*command, arguments->tokenizer);
  add_prompt_text_options(*command, options.prompt, arguments->tokens);
  command->add_option("--features", options.features,
                      "In place of a prompt, where the target reads features: 3=0.75,5=1, the others 0");
  command
      ->add_option("--target", options.targets,
                   "What is explained: a token and its position, \" her@2\" or \"#5@2\", or all that is said "
                   "there, kl@2 (repeatable); without it the most probable token behind the prompt. Of a "
                   "target of features the number of an output; without it all of them")
      ->allow_extra_args(false);
  command->add_option("--continuation", options.continuation,
                      "A text behind the prompt: each of its tokens is explained");
  command
      ->add_option("--generate", options.generation.tokens,
                   "As many tokens as the target says next, each of which is explained")
      ->check(at_least_zero())
      ->capture_default_str();
  command
      ->add_option("--temperature", options.generation.temperature,
                   "Of --generate; 0: the most probable token")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command
      ->add_option("--top-p", options.generation.top_p,
                   "Of --generate: draw from the most probable tokens with that probability together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--steps", pruning.steps, "Steps of pruning")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--lambda", pruning.coefficient, "How much a subcomponent costs: more leaves fewer")
      ->capture_default_str();
  command
      ->add_option("--masks", arguments->masks,
                   "What pruning withstands: adversarial, stochastic or importance (neither: not faithful)")
      ->capture_default_str();
  command->add_flag("--compare", options.compare,
                    "Prune with the other two kinds of masks, too, and show all three");
  command->add_flag("--all-nodes", options.all_nodes,
                    "Prune nothing: all subcomponents with an importance above 0");
  command
      ->add_option(
          "--rule", arguments->rule,
          "How edges pass norms, attention and activation functions: published (derivatives), complete "
          "(held, so that edges add up), or both")
      ->check(CLI::IsMember({"published", "complete", "both"}))
      ->capture_default_str();
  command
      ->add_option("--check-edges", options.checked_edges,
                   "Take out the sources of so many edges one by one, and compare")
      ->check(at_least_zero())
      ->capture_default_str();
  command->add_option("--rate", pruning.rate, "Learning rate of pruning")->capture_default_str();
  command->add_option("--schedule", arguments->schedule, "Of the learning rate: cosine or constant")
      ->check(CLI::IsMember({"cosine", "constant"}))
      ->capture_default_str();
  command
      ->add_option("--adversary-rest", arguments->rest,
                   "Sources of the adversary's passes off the alive subcomponents, and of Δ: random or zero")
      ->check(CLI::IsMember({"random", "zero"}))
      ->capture_default_str();
  command->add_option("--tolerance", options.tolerance,
                      "Nats that an adversary may add to the loss of a graph that is called faithful (1); of "
                      "features the part of the outputs' squares (0.1)");
  command->add_option("--max-edges", options.edges.most_edges, "Edges that are kept, the largest by share")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--top", options.most, "Nodes that are shown")
      ->check(at_least_one())
      ->capture_default_str();
  command->add_option("--seed", pruning.seed, "Seed of masks, attacks and --generate")->capture_default_str();
  command->add_option("--slug", options.slug, "The result's name, in RUN/interpretation/.../graphs")
      ->capture_default_str();
  add_json_option(*command, arguments->json, "the graph");
  command->footer(
      "Examples:\n"
      "  vpd graph runs/demo --prompt \"And the children\" --steps 500\n"
      "  vpd graph runs/demo --prompt \"The king\" --continuation \" of Israel\" --compare\n"
      "  vpd graph runs/demo --prompt \"And the\" --generate 5 --rule both --check-edges 50\n"
      "  vpd graph runs/tms_5-2 --features 0=0.75");
  command->callback([arguments] {
    GraphOptions& chosen = arguments->options;
    if (!arguments->tokenizer.empty()) chosen.tokenizer = arguments->tokenizer;
    if (!arguments->tokens.empty())
      chosen.prompt_tokens = numbers_between_commas("--prompt-tokens", arguments->tokens);
    chosen.pruning.masks = parse_prune_masks(arguments->masks);
    chosen.pruning.cosine = arguments->schedule == "cosine";
    chosen.pruning.random_rest = arguments->rest == "random";
    chosen.edges.rule = arguments->rule == "complete" ? EdgeRule::complete : EdgeRule::published;
    chosen.both_rules = arguments->rule == "both";
    chosen.verdict.seed = chosen.pruning.seed;
    chosen.generation.seed = chosen.pruning.seed;
    chosen.command_line = command_line();
    const GraphResult result = watched([&](const Observer& observer) { return graph_run(chosen, observer); });
    warn(result.warnings);
    present(graph_text(result), graph_json(result), arguments->json);
  });
}

}  // namespace vpd
