// What the nodes of a graph are called, and what else is known of them.

#include "graph_nodes.hpp"

#include <algorithm>
#include <map>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/labels.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
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
  const fs::path directory = results_path(source.run.directory, result.step) / "clusters",
                 path = directory / "clusters.json";
  std::error_code error;
  if (!fs::exists(path, error)) return;
  check_weights(directory, read_about(directory), weight_hashes(source.run.checkpoint.path),
                source.run.checkpoint.path);
  const nlohmann::ordered_json read =
      nlohmann::ordered_json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(read.is_object() && read.contains("clusters") && read["clusters"].is_array(), DataError,
            "{}: expected an object with a list \"clusters\", found none; run `vpd cluster` again",
            path.string());
  std::map<std::string, std::vector<std::size_t>> nodes_of;
  for (std::size_t i = 0; i < result.graph.nodes.size(); ++i)
    if (result.graph.nodes[i].kind == Kind::subcomponent) nodes_of[result.names[i]].push_back(i);
  std::size_t number = 0;
  for (const auto& cluster : read["clusters"]) {
    NodeCluster found{.name = fmt::format("cluster {}", number++), .nodes = {}};
    VPD_CHECK(cluster.is_object() && cluster.contains("members") && cluster["members"].is_array(), DataError,
              "{}: expected a list \"members\" in each cluster, found one without; run `vpd cluster` again",
              path.string());
    for (const auto& key : cluster["members"]) {
      const auto nodes = nodes_of.find(key.is_string() ? key.get<std::string>() : std::string());
      if (nodes != nodes_of.end())
        found.nodes.insert(found.nodes.end(), nodes->second.begin(), nodes->second.end());
    }
    if (found.nodes.size() > 1) result.clusters.push_back(std::move(found));
  }
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
