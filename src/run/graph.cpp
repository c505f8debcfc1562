#include "vpd/run/graph.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <map>

#include <ATen/ATen.h>

#include "edit_source.hpp"
#include "graph_nodes.hpp"
#include "graph_question.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/seconds_since.hpp"
#include "vpd/interpretation/prompt_set.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;

void check_options(const GraphOptions& options) {
  check_slug(options.slug);
  const PruneSettings& pruning = options.pruning;
  VPD_CHECK(pruning.coefficient >= 0.0 && std::isfinite(pruning.coefficient), UsageError,
            "--lambda: expected a number of at least 0, found {:g}", pruning.coefficient);
  VPD_CHECK(pruning.rate > 0.0 && std::isfinite(pruning.rate), UsageError,
            "--rate: expected a learning rate above 0, found {:g}", pruning.rate);
  VPD_CHECK(options.tolerance.value_or(0.0) >= 0.0, UsageError,
            "--tolerance: expected a number of at least 0, found {:g}", options.tolerance.value_or(0.0));
  VPD_CHECK(options.generation.tokens == 0 || options.continuation.empty(), UsageError,
            "--generate and --continuation exclude each other: each says what stands behind the prompt");
  VPD_CHECK(!(options.all_nodes && options.compare), UsageError,
            "--compare and --all-nodes exclude each other: without pruning there is nothing to compare");
}

/// Edges of all readings: source, target, weight (of the first), and, of two readings, that of each.
NamedTensors edge_table(const GraphResult& result) {
  std::vector<std::int64_t> sources, targets;
  std::vector<double> weights, others;
  std::map<std::pair<std::int32_t, std::int32_t>, std::array<double, 2>> both;
  for (const GraphEdge& edge : result.graph.edges) both[{edge.target, edge.source}][0] = edge.weight;
  if (result.other)
    for (const GraphEdge& edge : result.other->edges) both[{edge.target, edge.source}][1] = edge.weight;
  for (const auto& [ends, weight] : both) {
    targets.push_back(ends.first);
    sources.push_back(ends.second);
    weights.push_back(weight[0]);
    others.push_back(weight[1]);
  }
  const at::Tensor weight = at::tensor(weights, at::kDouble).to(at::kFloat);
  NamedTensors table = {{"source", at::tensor(sources, at::kLong).to(at::kInt)},
                        {"target", at::tensor(targets, at::kLong).to(at::kInt)},
                        {"weight", weight}};
  if (result.other) {
    table.emplace_back(name_of(result.graph.rule), weight.clone());
    table.emplace_back(name_of(result.other->rule), at::tensor(others, at::kDouble).to(at::kFloat));
  }
  return table;
}

void keep(const GraphResult& result, const GraphOptions& options, const EditSource& source) {
  publish_result(result.directory, [&](const fs::path& to) {
    save_safetensors(to / "edges.safetensors", edge_table(result));
    write_atomically(to / "graph.json", graph_json(result));
    const ViewerFiles viewer = viewer_files(result, options.slug);
    write_atomically(to / "viewer.json", viewer.graph);
    write_atomically(to / "graph-metadata.json", viewer.metadata);
    if (!viewer.features.empty()) fs::create_directory(to / "features");
    for (const auto& [number, text] : viewer.features)
      write_atomically(to / "features" / fmt::format("{}.json", number), text);
    write_about_edit(to, source, options.command_line, result.warnings);
  });
}

}  // namespace

GraphResult graph_run(const GraphOptions& options, const Observer& observer) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  EditSource source(options, observer, 0, /*features_will_do=*/true);
  const Decomposition& d = source.run.decomposition;
  GraphResult result{.step = source.run.checkpoint.step,
                     .all_nodes = options.all_nodes,
                     .node_share = options.edges.node_share,
                     .edge_share = options.edges.edge_share,
                     .most = options.most};
  result.warnings = source.run.warnings;
  const auto [input, targets, said] = question_of(options, source, result.warnings, observer);
  const std::int64_t T = positions_of(input);
  if (input.is_floating_point()) {
    result.texts.emplace_back("input");
  } else {
    for (std::int64_t t = 0; t < T; ++t)
      result.texts.push_back(source.token_text(input[t].item<std::int64_t>()));
  }
  if (!said.empty()) {
    result.said = said.size();
    result.last_said = source.token_text(said.back());
  }
  const GraphResult described = result;  // what graphs of other prunings share
  VerdictSettings verdict = options.verdict;
  verdict.tolerance = options.tolerance.value_or(input.is_floating_point() ? 0.1 : 1.0);

  const auto prune = [&](PruneMasks masks) {
    PruneSettings settings = options.pruning;
    settings.masks = masks;
    if (options.all_nodes) settings.steps = 0;
    const PromptImportance found =
        optimise_importance(d, input, targets, settings, observer.stop, nullptr, [&](const PruneStep& step) {
          if (step.number % 10 == 0)
            observer.announce(fmt::format("pruning under {} masks: step {} of {}, loss {:.3f}",
                                          name_of(masks), step.number, settings.steps, step.total));
        });
    VPD_CHECK(
        found.kept > 0, UsageError,
        "expected subcomponents that the outputs need, found that all {} were pruned; try --lambda {:g}",
        found.alive, options.pruning.coefficient / 2);
    observer.announce("judging what is left");
    result.pruned.push_back(
        {masks, found.kept, judge_importance(d, input, targets, found, masks, verdict, observer.stop)});
    return found;
  };
  // Each way of pruning leaves a graph of its own; that of the first is what everything else is about.
  std::vector<PruneMasks> ways = {options.pruning.masks};
  if (options.compare) {
    for (const PruneMasks masks : {PruneMasks::adversarial, PruneMasks::stochastic, PruneMasks::importance})
      if (masks != ways.front()) ways.push_back(masks);
  }
  std::vector<PromptImportance> found_by;
  for (const PruneMasks masks : ways) compute_undivided(d, T, [&] { found_by.push_back(prune(masks)); });
  const PromptImportance& found = found_by.front();
  result.alive = found.alive;
  if (options.all_nodes) {
    result.pruned.front().verdict.faithful = false;
    result.pruned.front().verdict.reason =
        "nothing was pruned: these are all subcomponents with an importance above 0";
  }
  if (found.kept > 4000)
    result.warnings.push_back(fmt::format("the graph has {} nodes: it will be slow to look at", found.kept));
  EdgeSettings edges = options.edges;
  const auto read = [&](const PromptImportance& importance) {
    observer.announce(fmt::format("following derivatives, {} rule", name_of(edges.rule)));
    return attribute_graph(d, input, targets, importance.after, importance.before, edges, *source.run.lanes,
                           observer.stop);
  };
  const auto check = [&](const AttributionGraph& graph) {
    if (options.checked_edges > 0)
      result.checks.push_back(
          check_edges(d, input, graph, options.checked_edges, *source.run.lanes, observer.stop));
  };
  for (std::size_t i = 1; i < found_by.size(); ++i) {
    GraphResult other = described;
    other.alive = found_by[i].alive;
    other.pruned = {result.pruned[i]};
    other.graph = read(found_by[i]);
    name_nodes(other, source);
    add_clusters(other, source);
    result.beside.push_back(std::move(other));
  }
  result.graph = read(found);
  check(result.graph);
  if (options.both_rules) {
    edges.rule = edges.rule == EdgeRule::published ? EdgeRule::complete : EdgeRule::published;
    result.other = read(found);
    check(*result.other);
  }
  name_nodes(result, source);
  add_clusters(result, source);
  add_examples(result, source);
  result.directory = results_path(source.run.directory, result.step) / "graphs" / options.slug;
  result.seconds = seconds_since(start);
  keep(result, options, source);
  return result;
}

}  // namespace vpd
