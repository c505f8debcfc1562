#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/attribution_graph.hpp"
#include "vpd/interpretation/intervention.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct GraphOptions : RunToEdit {
  std::string prompt{};                       ///< text, or
  std::vector<std::int64_t> prompt_tokens{};  ///< tokens, or
  std::string features{};                     ///< "3=0.75,5=1" of a target of features, the others 0
  /// " her@2", "#5@2" or "kl@2"; without a position the prompt's last. Nothing, and no continuation: the most
  /// probable token behind the prompt. Of a target of features "3", an output, or nothing: all of them.
  std::vector<std::string> targets{};
  std::string continuation{};  ///< text behind the prompt, each token of which is a target; or
  GenerationSettings generation{.tokens = 0};  ///< what the target says itself
  PruneSettings pruning{};
  bool all_nodes = false;             ///< no optimisation: all entries with an importance above 0
  bool compare = false;               ///< prune under the other two kinds of masks, too, and draw all three
  EdgeSettings edges{};               ///< its rule is that of the first reading
  bool both_rules = false;            ///< a second reading by the other rule
  std::size_t checked_edges = 0;      ///< of each reading, beside true direct effects
  std::optional<double> tolerance{};  ///< of the verdict; nothing: 1 nat, or, of features, 0.1
  VerdictSettings verdict{};
  std::int64_t most = 20;  ///< nodes that are shown
  std::string slug = "graph";
  std::string command_line{};
};

/// One way of pruning, judged.
struct PrunedGraph {
  PruneMasks masks = PruneMasks::adversarial;
  std::int64_t nodes = 0;
  PruneVerdict verdict;
};

/// Subcomponents that `vpd cluster` put together, at whatever positions.
struct NodeCluster {
  std::string name;
  std::vector<std::size_t> nodes;
};

/// What is known of a subcomponent from a harvest, for viewers.
struct NodeExamples {
  struct Group {
    std::string name;
    std::vector<std::vector<std::string>> tokens;  ///< of each example
    std::vector<std::vector<float>> activations;   ///< at each of them
  };
  std::vector<Group> groups;
  std::vector<std::string> top, bottom;  ///< tokens that it raises or reads most, and least
};

struct GraphResult {
  std::int64_t step = 0;
  AttributionGraph graph;
  std::optional<AttributionGraph> other;  ///< the same nodes, with edges by the other rule
  std::vector<EdgeCheck> checks;          ///< of the readings, where they were asked for
  std::vector<NodeCluster> clusters;
  std::map<std::int64_t, NodeExamples> examples;  ///< of columns that are drawn, where there is a harvest
  std::size_t said = 0;                           ///< tokens at the prompt's end that the target said itself
  std::vector<std::string> texts;                 ///< of the prompt's tokens; of features "input"
  std::string last_said;                          ///< the last token that was generated, which nobody reads
  std::vector<std::string> names;    ///< of nodes: "site:c", "Δ site", a token, "feature 3", "output 3"
  std::vector<std::string> labels;   ///< of nodes, or empty
  std::vector<std::int64_t> layers;  ///< of nodes: the stage of the target
  std::vector<std::int64_t> within;  ///< of nodes: the column among those of its stage's sites, or `which`
  std::int64_t alive = 0;            ///< entries with an importance above 0 before
  bool all_nodes = false;
  double node_share = 0.0, edge_share = 0.0;  ///< of influence, which are shown
  std::vector<PrunedGraph> pruned;            ///< that of the graph first
  std::vector<GraphResult> beside;            ///< graphs of the other prunings, by the first rule
  std::int64_t most = 20;
  std::filesystem::path directory;
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Draws the graph of what subcomponents of one prompt feed each other and its outputs, after pruning them
/// under random and adversarial masks. Throws ConfigError, DataError, UsageError, and Interrupted.
GraphResult graph_run(const GraphOptions& options, const Observer& observer = {});

std::string graph_text(const GraphResult& result);
std::string graph_json(const GraphResult& result);

/// The drawn part of a graph as Neuronpedia and circuit-tracer's page read it.
struct ViewerFiles {
  std::string graph;                             ///< viewer.json
  std::string metadata;                          ///< graph-metadata.json
  std::map<std::int64_t, std::string> features;  ///< features/<number>.json
};
ViewerFiles viewer_files(const GraphResult& result, const std::string& slug);

}  // namespace vpd
