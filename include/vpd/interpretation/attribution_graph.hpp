#pragma once

// How subcomponents of one prompt feed each other and what the model says: edges along paths that run through
// no other site, in the target itself.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vpd/interpretation/prompt_importance.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

/// What edges lead into: F = ‖U_c‖ V_cᵀ x of a subcomponent at a position, or a logit there.
struct EdgeTarget {
  bool logit = false;
  std::int64_t which = 0;  ///< column, or token
  std::int64_t at = 0;
};

/// Everything that leads into one of them, without gates, along paths through no other site (∂F/∂y of what
/// sites gave, those being held as leaves). What these leave of F is the rest: norms, attention and
/// activation functions are not linear.
struct IncomingEdges {
  double F = 0.0;
  at::Tensor edge;        ///< float64 [T, Σ C]: (∂F/∂y · U_c) V_cᵀ x of each source
  at::Tensor delta;       ///< [T, L]: Δ of each site
  at::Tensor bias;        ///< [T, L]: its bias
  at::Tensor embedding;   ///< [T]: rows of the embedding
  double constant = 0.0;  ///< biases of matrices that are no sites
};
/// tokens int64 [T]. `visit(i, edges)` is called for each target, in any order, by one thread at a time.
void incoming_edges(const Decomposition& decomposition, const at::Tensor& tokens,
                    const std::vector<EdgeTarget>& targets, Lanes& lanes,
                    const std::function<void(std::size_t, const IncomingEdges&)>& visit,
                    const StopAsked& stop = {});

struct GraphNode {
  enum class Kind : std::uint8_t { subcomponent, delta, embedding, logit };
  Kind kind = Kind::subcomponent;
  std::int64_t which = 0;  ///< column, site, token, token
  std::int64_t at = 0;
  double F = 0.0;           ///< of subcomponents and logits
  double importance = 0.0;  ///< after the optimisation; of logits: the probability under it
  double importance_before = 0.0;
  double influence = 0.0;  ///< on the logits, through all paths (circuit-tracer's measure)
  bool shown = true;       ///< left by pruning for display
  /// Parts of F: kept, pruned, delta, bias, embedding, constant, rest.
  std::array<double, 7> balance{};
};
inline constexpr std::array<const char*, 7> balance_names = {"kept",      "pruned",   "delta", "bias",
                                                             "embedding", "constant", "rest"};

struct GraphEdge {
  std::int32_t source = 0, target = 0;  ///< nodes
  double weight = 0.0;
  bool shown = true;
};

struct AttributionGraph {
  std::vector<std::int64_t> tokens;
  std::vector<OutputTarget> targets;
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
};

struct EdgeSettings {
  double shown_probability = 0.01;             ///< other logits of target positions are nodes above this
  std::size_t logits = 15;                     ///< at most, each target position
  double node_share = 0.8, edge_share = 0.98;  ///< of influence, for display
  std::size_t most_edges = 20'000;             ///< the largest by their share of what leads into a node
};
/// `importance` and `before` as in PromptImportance.
AttributionGraph attribute_graph(const Decomposition& decomposition, const at::Tensor& tokens,
                                 const std::vector<OutputTarget>& targets, const at::Tensor& importance,
                                 const at::Tensor& before, const EdgeSettings& settings, Lanes& lanes,
                                 const StopAsked& stop = {});

/// Influence of each node on the logits, i = w (Â + Â² + …), Â the magnitudes of edges over the sum of those
/// that lead into the same node, w the logits' probabilities; and what is left for display: of nodes the most
/// influential to `node_share` of all influence, with all logits and embeddings; of edges the largest
/// likewise; without what then leads nowhere or, subcomponents, comes from nowhere. Sets influence and shown.
void prune_for_display(std::vector<GraphNode>& nodes, std::vector<GraphEdge>& edges, double node_share,
                       double edge_share);

}  // namespace vpd
