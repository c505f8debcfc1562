// How much each node of a graph counts for what is said, and how much of it the graph accounts for.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "vpd/interpretation/attribution_graph.hpp"

namespace vpd {
namespace {

using Kind = GraphNode::Kind;

struct Influence {
  std::vector<double> of_node;
  std::vector<double> share;  // of each edge: its part of what leads into its target
};

/// `unexplained`: what leads into each node from nowhere, and takes its part of the shares.
Influence influence_of(const std::vector<double>& weight, const std::vector<GraphEdge>& edges,
                       const std::vector<bool>& alive, const std::vector<double>& unexplained = {}) {
  const auto counts = [&](const GraphEdge& edge) {
    return alive[static_cast<std::size_t>(edge.source)] && alive[static_cast<std::size_t>(edge.target)];
  };
  std::vector<double> into = unexplained;
  into.resize(weight.size());
  for (const GraphEdge& edge : edges)
    if (counts(edge)) into[static_cast<std::size_t>(edge.target)] += std::abs(edge.weight);
  Influence influence{std::vector<double>(weight.size()), {}};
  for (const GraphEdge& edge : edges) {
    const double sum = into[static_cast<std::size_t>(edge.target)];
    influence.share.push_back(counts(edge) && sum > 0.0 ? std::abs(edge.weight) / sum : 0.0);
  }
  // The graph has no cycles: after as many steps as its longest path nothing is left to pass on.
  std::vector<double> step = weight;
  for (bool any = true; any;) {
    std::vector<double> next(weight.size());
    for (std::size_t e = 0; e < edges.size(); ++e)
      next[static_cast<std::size_t>(edges[e].source)] +=
          step[static_cast<std::size_t>(edges[e].target)] * influence.share[e];
    any = false;
    for (std::size_t i = 0; i < next.size(); ++i) {
      influence.of_node[i] += next[i];
      any = any || next[i] != 0.0;
    }
    step = std::move(next);
  }
  return influence;
}

/// The least of the largest scores whose sum reaches `share` of all.
double least_of_largest(std::vector<double> scores, double share) {
  std::sort(scores.begin(), scores.end(), std::greater<>());
  const double all = std::accumulate(scores.begin(), scores.end(), 0.0);
  double sum = 0.0;
  for (const double score : scores) {
    sum += score;
    if (sum >= share * all) return score;
  }
  return scores.empty() ? 0.0 : scores.back();
}

std::vector<double> weights_of_logits(const std::vector<GraphNode>& nodes) {
  std::vector<double> weight(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].kind == Kind::logit) weight[i] = nodes[i].importance;
  return weight;
}

}  // namespace

GraphScores graph_scores(const std::vector<GraphNode>& nodes, const std::vector<GraphEdge>& edges) {
  constexpr std::size_t pruned = 1, rest = 6;  // of the balance
  const std::vector<double> weight = weights_of_logits(nodes);
  std::vector<double> unexplained(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    unexplained[i] = std::abs(nodes[i].balance[pruned]) + std::abs(nodes[i].balance[rest]);
  const Influence influence = influence_of(weight, edges, std::vector<bool>(nodes.size(), true), unexplained);
  std::vector<double> into = unexplained, error = unexplained;  // of each target
  for (const GraphEdge& edge : edges) {
    const auto target = static_cast<std::size_t>(edge.target);
    into[target] += std::abs(edge.weight);
    if (nodes[static_cast<std::size_t>(edge.source)].kind == Kind::delta)
      error[target] += std::abs(edge.weight);
  }
  double from_input = 0.0, from_error = 0.0, complete = 0.0, all = 0.0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const double passed_on = weight[i] + influence.of_node[i];
    if (nodes[i].kind == Kind::embedding) from_input += influence.of_node[i];
    if (nodes[i].kind == Kind::embedding || nodes[i].kind == Kind::delta || into[i] == 0.0) continue;
    from_error += passed_on * error[i] / into[i];
    complete += passed_on * (1.0 - error[i] / into[i]);
    all += passed_on;
  }
  const double ends = from_input + from_error;
  return {.replacement = ends > 0.0 ? from_input / ends : 0.0,
          .completeness = all > 0.0 ? complete / all : 0.0};
}

void prune_for_display(std::vector<GraphNode>& nodes, std::vector<GraphEdge>& edges, double node_share,
                       double edge_share) {
  const auto always = [&](std::size_t i) {
    return nodes[i].kind == Kind::embedding || nodes[i].kind == Kind::logit;
  };
  const std::vector<double> weight = weights_of_logits(nodes);
  const Influence first = influence_of(weight, edges, std::vector<bool>(nodes.size(), true));
  const double least_node = least_of_largest(first.of_node, node_share);
  std::vector<bool> alive(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].influence = first.of_node[i];
    alive[i] = first.of_node[i] >= least_node || always(i);
  }
  const Influence again = influence_of(weight, edges, alive);
  std::vector<double> scores;
  for (std::size_t e = 0; e < edges.size(); ++e) {
    const auto target = static_cast<std::size_t>(edges[e].target);
    scores.push_back(again.share[e] * (again.of_node[target] + weight[target]));
  }
  const double least_edge = least_of_largest(scores, edge_share);
  for (std::size_t e = 0; e < edges.size(); ++e)
    edges[e].shown = scores[e] >= least_edge && edges[e].weight != 0.0 &&
                     alive[static_cast<std::size_t>(edges[e].source)] &&
                     alive[static_cast<std::size_t>(edges[e].target)];
  for (bool changed = true; changed;) {
    std::vector<bool> leads(nodes.size()), is_fed(nodes.size());
    for (const GraphEdge& edge : edges) {
      if (!edge.shown) continue;
      leads[static_cast<std::size_t>(edge.source)] = true;
      is_fed[static_cast<std::size_t>(edge.target)] = true;
    }
    changed = false;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const bool stays =
          alive[i] && (leads[i] || always(i)) && (is_fed[i] || nodes[i].kind != Kind::subcomponent);
      changed = changed || stays != alive[i];
      alive[i] = stays;
    }
    for (GraphEdge& edge : edges)
      edge.shown = edge.shown && alive[static_cast<std::size_t>(edge.source)] &&
                   alive[static_cast<std::size_t>(edge.target)];
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].shown = alive[i];
}

}  // namespace vpd
