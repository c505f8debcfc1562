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

/// How edges pass what is not linear.
enum class EdgeRule : std::uint8_t {
  published,  ///< by derivatives, as they are
  complete,   ///< norms' denominators and attention patterns held, activation functions by their secant
              ///< φ(u)/u: then what leads into a node adds up to it
};
std::string name_of(EdgeRule rule);

/// What edges lead into: F = ‖U_c‖ V_cᵀ x of a subcomponent at a position, or an output there (a logit).
struct EdgeTarget {
  bool logit = false;
  std::int64_t which = 0;  ///< column, or token
  std::int64_t at = 0;
};

/// Everything that leads into one of them, without gates, along paths through no other site (∂F/∂y of what
/// sites gave, those being held as leaves). By the published rule they leave a rest of F: norms, attention
/// and activation functions are not linear.
struct IncomingEdges {
  double F = 0.0;
  at::Tensor edge;   ///< float64 [T, Σ C]: (∂F/∂y · U_c) V_cᵀ x of each source
  at::Tensor delta;  ///< [T, L]: Δ of each site
  at::Tensor bias;   ///< [T, L]: its bias
  /// [T]: rows of the embedding; into a subcomponent of the embedding its token, which is all there is to it.
  /// [n] of features: x_j ∂F/∂x_j.
  at::Tensor input;
  double constant = 0.0;  ///< biases of other matrices and of LayerNorms, learned positions
};
/// input: tokens int64 [T], or features [n]. `visit(i, edges)` is called for each target, in any order, by
/// one thread at a time.
void incoming_edges(const Decomposition& decomposition, const at::Tensor& input,
                    const std::vector<EdgeTarget>& targets, EdgeRule rule, Lanes& lanes,
                    const std::function<void(std::size_t, const IncomingEdges&)>& visit,
                    const StopAsked& stop = {});

/// An edge whose true effect is asked for: of subcomponent `column` at position `at`.
struct EdgeToCheck {
  EdgeTarget target;
  std::int64_t column = 0, at = 0;
};
/// What F loses where a source's V_cᵀ x U_c is taken out of what its site gives, and every other site's
/// output is held.
std::vector<double> direct_effects(const Decomposition& decomposition, const at::Tensor& input,
                                   const std::vector<EdgeToCheck>& edges, Lanes& lanes,
                                   const StopAsked& stop = {});

struct GraphNode {
  /// Of a target of features `embedding` is a feature that it reads, `logit` one of its outputs.
  enum class Kind : std::uint8_t { subcomponent, delta, embedding, logit };
  Kind kind = Kind::subcomponent;
  std::int64_t which = 0;  ///< column, site, token (or feature), token (or output)
  std::int64_t at = 0;
  double F = 0.0;           ///< of subcomponents and logits
  double importance = 0.0;  ///< after the optimisation; of logits: the probability under it (of features the
                            ///< part of all outputs' magnitudes)
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

/// A token that is said at one position and read at the next: what joins explanations of one token after
/// another.
struct Handoff {
  std::int32_t source = 0, target = 0;  ///< nodes: a logit, an embedding
  double log_p = 0.0;                   ///< of the token, in the target itself; nats
};

/// How much of what is said the graph accounts for, by circuit-tracer's measures. What it does not: Δ, the
/// subcomponents that were pruned, and, by the published rule, each balance's rest.
struct GraphScores {
  double replacement = 0.0;  ///< of the paths behind the outputs, the part that ends in what is read
  double completeness =
      0.0;  ///< of what leads into nodes, weighted by their influence, the part that is nodes
};

struct AttributionGraph {
  EdgeRule rule = EdgeRule::published;
  bool features = false;             ///< the target reads features and not tokens
  std::vector<std::int64_t> tokens;  ///< none: features
  std::vector<OutputTarget> targets;
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
  std::vector<Handoff> handoffs;
  GraphScores scores;  ///< of all nodes, before anything is left out for display
};

struct EdgeSettings {
  EdgeRule rule = EdgeRule::published;
  double shown_probability = 0.01;             ///< other logits of target positions are nodes above this
  std::size_t logits = 15;                     ///< at most, each target position
  double node_share = 0.8, edge_share = 0.98;  ///< of influence, for display
  std::size_t most_edges = 20'000;             ///< the largest by their share of what leads into a node
};
/// `input` as in incoming_edges(), `importance` and `before` as in PromptImportance. Nodes are the same by
/// either rule.
AttributionGraph attribute_graph(const Decomposition& decomposition, const at::Tensor& input,
                                 const std::vector<OutputTarget>& targets, const at::Tensor& importance,
                                 const at::Tensor& before, const EdgeSettings& settings, Lanes& lanes,
                                 const StopAsked& stop = {});

/// Influence of each node on the logits, i = w (Â + Â² + …), Â the magnitudes of edges over the sum of those
/// that lead into the same node, w the logits' probabilities; and what is left for display: of nodes the most
/// influential to `node_share` of all influence, with all logits and embeddings; of edges the largest
/// likewise; without what then leads nowhere or, subcomponents, comes from nowhere. Sets influence and shown.
void prune_for_display(std::vector<GraphNode>& nodes, std::vector<GraphEdge>& edges, double node_share,
                       double edge_share);

/// Of all edges that lead into nodes, with the nodes' balances.
GraphScores graph_scores(const std::vector<GraphNode>& nodes, const std::vector<GraphEdge>& edges);

/// An edge, and what its target loses without its source.
struct CheckedEdge {
  std::int32_t source = 0, target = 0;
  double claimed = 0.0;  ///< by the edge, without its gate
  double effect = 0.0;   ///< direct_effects()
  double ratio() const { return effect / claimed; }
};
struct EdgeCheck {
  std::vector<CheckedEdge> edges;  ///< the largest shares of what leads into a node first
  double correlation = 0.0;
  std::size_t worst = 0;  ///< the edge whose ratio is farthest from 1
};
/// Checks the `most` edges of subcomponents that are the largest shares of what leads into a node.
EdgeCheck check_edges(const Decomposition& decomposition, const at::Tensor& input,
                      const AttributionGraph& graph, std::size_t most, Lanes& lanes,
                      const StopAsked& stop = {});

}  // namespace vpd
