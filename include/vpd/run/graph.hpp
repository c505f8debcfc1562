#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/attribution_graph.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct GraphOptions : RunToEdit {
  std::string prompt{};                       ///< text, or
  std::vector<std::int64_t> prompt_tokens{};  ///< tokens
  /// " her@2", "#5@2" or "kl@2"; without a position the prompt's last. Nothing, and no continuation: the most
  /// probable token behind the prompt.
  std::vector<std::string> targets{};
  std::string continuation{};  ///< text behind the prompt, each token of which is a target
  PruneSettings pruning{};
  bool all_nodes = false;  ///< no optimisation: all entries with an importance above 0
  bool compare = false;    ///< prune with stochastic masks alone and with none, too
  EdgeSettings edges{};
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

struct GraphResult {
  std::int64_t step = 0;
  AttributionGraph graph;
  std::vector<std::string> texts;    ///< of the prompt's tokens
  std::vector<std::string> names;    ///< of nodes: "site:c", "Δ site", a token
  std::vector<std::string> labels;   ///< of nodes, or empty
  std::vector<std::int64_t> layers;  ///< of nodes: the stage of the target
  std::int64_t alive = 0;            ///< entries with an importance above 0 before
  bool all_nodes = false;
  std::vector<PrunedGraph> pruned;  ///< that of the graph first
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
/// The graph as Neuronpedia and circuit-tracer read it.
std::string viewer_json(const GraphResult& result, const std::string& slug);

}  // namespace vpd
