// What the nodes of a graph are called, and what else is known of them.

#include "graph_nodes.hpp"

#include <algorithm>
#include <map>

#include "cluster_numbers.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"

namespace vpd {
namespace {

using Kind = GraphNode::Kind;

/// The stage of the target in which each site's matrix works.
std::vector<std::int64_t> stages_of(const OpenedRun& run) {
  std::vector<std::string> ignored;
  const Architecture architecture = describe_target(run.config.target, ignored);
  std::vector<std::int64_t> stages;
  for (const Site& site : run.decomposition.sites.all()) {
    std::int64_t number = 0, found = 0;
    for (const Stage& stage : architecture.stages) {
      if (site.matrix >= stage.first && site.matrix < stage.first + stage.count) found = number;
      ++number;
    }
    stages.push_back(found);
  }
  return stages;
}

/// The first column of each site among those of its stage: viewers pair stage and number into one.
std::vector<std::int64_t> columns_before(const Sites& sites, const std::vector<std::int64_t>& stages) {
  std::vector<std::int64_t> before;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    std::int64_t first = 0;
    for (std::size_t j = 0; j < i; ++j)
      if (stages[j] == stages[i]) first += sites[j].C;
    before.push_back(first);
  }
  return before;
}

}  // namespace

void name_nodes(GraphResult& result, const EditSource& source) {
  const Sites& sites = source.run.decomposition.sites;
  const std::vector<std::int64_t> stages = stages_of(source.run), before = columns_before(sites, stages);
  const std::int64_t above = *std::max_element(stages.begin(), stages.end()) + 1;
  const Labels labels(labels_path(source.run.directory, result.step));
  const bool features = result.graph.features;
  for (const GraphNode& node : result.graph.nodes) {
    std::string name, label;
    std::int64_t layer = 0, within = node.which;
    if (node.kind == Kind::subcomponent) {
      const SubcomponentId id = subcomponent_at(node.which, sites);
      name = to_text(id, sites);
      label = labels.label_of(name);
      layer = stages[id.site];
      within = before[id.site] + id.c;
    } else if (node.kind == Kind::delta) {
      name = "Δ " + sites[static_cast<std::size_t>(node.which)].name;
      layer = stages[static_cast<std::size_t>(node.which)];
    } else if (node.kind == Kind::logit) {
      name = features ? fmt::format("output {}", node.which) : source.token_text(node.which);
      layer = above;
    } else {
      name = features ? fmt::format("feature {}", node.which) : source.token_text(node.which);
    }
    result.names.push_back(name);
    result.labels.push_back(label);
    result.layers.push_back(layer);
    result.within.push_back(within);
  }
}

void add_clusters(GraphResult& result, const EditSource& source) {
  const auto numbers = cluster_numbers(source.run);
  if (!numbers) return;
  std::map<std::int64_t, std::vector<std::size_t>> nodes_of;
  for (std::size_t i = 0; i < result.graph.nodes.size(); ++i) {
    if (result.graph.nodes[i].kind != Kind::subcomponent) continue;
    const auto number = numbers->find(result.names[i]);
    if (number != numbers->end()) nodes_of[number->second].push_back(i);
  }
  for (auto& [number, nodes] : nodes_of)
    if (nodes.size() > 1)
      result.clusters.push_back({.name = fmt::format("cluster {}", number), .nodes = std::move(nodes)});
}

void add_examples(GraphResult& result, const EditSource& source) {
  if (!source.evidence) return;
  const Evidence& evidence = source.evidence->evidence;
  constexpr std::pair<FiringExample::Kind, const char*> groups[] = {
      {FiringExample::Kind::strongest, "strongest"},
      {FiringExample::Kind::random_positive, "drawn, positive"},
      {FiringExample::Kind::random_negative, "drawn, negative"}};
  for (const GraphNode& node : result.graph.nodes) {
    if (node.kind != Kind::subcomponent || !node.shown || result.examples.contains(node.which) ||
        !evidence.is_alive(node.which))
      continue;
    NodeExamples& found = result.examples[node.which];
    const std::vector<FiringExample> all = evidence.examples(node.which);
    for (const auto& [kind, name] : groups) {
      NodeExamples::Group group{.name = name, .tokens = {}, .activations = {}};
      for (const FiringExample& example : all) {
        if (example.kind != kind) continue;
        std::vector<std::string>& tokens = group.tokens.emplace_back();
        std::vector<float>& activations = group.activations.emplace_back();
        for (std::size_t k = 0; k < example.tokens.size(); ++k) {
          if (example.tokens[k] < 0) continue;
          tokens.push_back(source.token_text(example.tokens[k]));
          activations.push_back(example.activation[k]);
        }
      }
      if (!group.tokens.empty()) found.groups.push_back(std::move(group));
    }
    const std::vector<LensToken> lens = evidence.lens(node.which);
    for (std::size_t k = 0; k < lens.size(); ++k)
      if (lens[k].token >= 0)
        (2 * k < lens.size() ? found.top : found.bottom).push_back(source.token_text(lens[k].token));
  }
}

}  // namespace vpd
