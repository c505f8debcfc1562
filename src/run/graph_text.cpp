// A graph for people.

#include <algorithm>
#include <cmath>

#include "vpd/base/foreign_text.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {
namespace {

using Kind = GraphNode::Kind;

std::string placed(const GraphResult& result, std::size_t node) {
  const GraphNode& one = result.graph.nodes[node];
  if (result.graph.features)
    return one.kind == Kind::subcomponent || one.kind == Kind::delta ? result.names[node]
           : one.kind == Kind::logit                                 ? "gives " + result.names[node]
                                                                     : "reads " + result.names[node];
  const std::string token = printable(result.texts[static_cast<std::size_t>(one.at)]);
  switch (one.kind) {
    case Kind::logit:
      return fmt::format("says {}@{}", printable(result.names[node]), one.at);
    case Kind::embedding:
      return fmt::format("reads {}@{}", token, one.at);
    default:
      return fmt::format("{}@{}", result.names[node], one.at);
  }
}

/// Whether a node is an output that was asked about; of a target without a token all at its position are.
bool is_asked(const AttributionGraph& graph, const GraphNode& node) {
  return node.kind == Kind::logit &&
         std::any_of(graph.targets.begin(), graph.targets.end(), [&](const OutputTarget& target) {
           return target.at == node.at && (!target.token || *target.token == node.which);
         });
}

std::string verdict_text(const GraphResult& result) {
  std::string text = fmt::format("\n{:<22}", "masks");
  for (const PrunedGraph& one : result.pruned)
    text += fmt::format(" {:>22}", "pruned by " + name_of(one.masks));
  text += fmt::format("\n{:<22}", "nodes");
  for (const PrunedGraph& one : result.pruned) text += fmt::format(" {:>22}", one.nodes);
  const auto row = [&](const char* name, MaskedOutputs PruneVerdict::*member) {
    text += fmt::format("\n{:<22}", name);
    for (const PrunedGraph& one : result.pruned) {
      const MaskedOutputs& o = one.verdict.*member;
      text += std::isnan(o.p) ? fmt::format(" {:>22}", fmt::format("loss {:.3f}", o.D))
                              : fmt::format(" {:>22}", fmt::format("p {:.3f}  loss {:.3f}", o.p, o.D));
    }
  };
  row("target", &PruneVerdict::target);
  row("all subcomponents", &PruneVerdict::unmasked);
  row("importances", &PruneVerdict::importance);
  row("rounded", &PruneVerdict::rounded);
  row("random, mean of 32", &PruneVerdict::stochastic);
  row("attack 4 x 1.0", &PruneVerdict::adversarial_short);
  row("attack 20 x 0.1", &PruneVerdict::adversarial_long);
  row("none", &PruneVerdict::zeroed);
  text += "\n\n";
  for (const PrunedGraph& one : result.pruned)
    text += fmt::format("pruned by {}: {}\n", name_of(one.masks),
                        one.verdict.faithful ? "faithful" : "NOT faithful: " + one.verdict.reason);
  return text;
}

std::string edges_into(const GraphResult& result, std::size_t target, std::size_t most) {
  std::vector<const GraphEdge*> edges;
  double all = 0.0;
  for (const GraphEdge& edge : result.graph.edges) {
    if (static_cast<std::size_t>(edge.target) != target) continue;
    edges.push_back(&edge);
    all += std::abs(edge.weight);
  }
  std::stable_sort(edges.begin(), edges.end(), [](const GraphEdge* a, const GraphEdge* b) {
    return std::abs(a->weight) > std::abs(b->weight);
  });
  std::string text;
  for (std::size_t i = 0; i < std::min(most, edges.size()); ++i)
    text += fmt::format("    {:>5.1f} %  {:+.3f}  {}\n", 100.0 * std::abs(edges[i]->weight) / all,
                        edges[i]->weight, placed(result, static_cast<std::size_t>(edges[i]->source)));
  return text;
}

/// What is explained, and where.
std::string explained_text(const GraphResult& result) {
  const AttributionGraph& graph = result.graph;
  std::string text;
  for (const OutputTarget& target : graph.targets) {
    std::string what = graph.features ? "all outputs" : "all that is said";
    for (std::size_t i = 0; target.token && i < graph.nodes.size(); ++i) {
      const GraphNode& node = graph.nodes[i];
      if (node.kind == Kind::logit && node.which == *target.token && node.at == target.at)
        what = printable(result.names[i]);
    }
    text += graph.features
                ? fmt::format("explained    {}\n", what)
                : fmt::format("explained    {} behind {}@{}\n", what,
                              printable(result.texts[static_cast<std::size_t>(target.at)]), target.at);
  }
  return text;
}

std::string said_text(const GraphResult& result) {
  if (result.said == 0) return {};
  std::string prompt, said;
  for (std::size_t t = 0; t < result.texts.size(); ++t)
    (t + result.said > result.texts.size() ? said : prompt) += result.texts[t];
  return fmt::format("prompt       {}\nit says      {}\n", printable(prompt),
                     printable(said + result.last_said));
}

std::string handoffs_text(const GraphResult& result) {
  if (result.graph.handoffs.empty()) return {};
  std::string text = "\nsaid, and read at the next position\n";
  for (const Handoff& handoff : result.graph.handoffs)
    text +=
        fmt::format("    {} → {}  ln p {:.2f}\n", placed(result, static_cast<std::size_t>(handoff.source)),
                    placed(result, static_cast<std::size_t>(handoff.target)), handoff.log_p);
  return text;
}

std::string checks_text(const GraphResult& result) {
  if (result.checks.empty()) return {};
  std::string text =
      "\nedges beside what their targets lose where the source is taken out and all else is held\n";
  for (std::size_t k = 0; k < result.checks.size(); ++k) {
    const EdgeCheck& check = result.checks[k];
    text += fmt::format("    {}: {} edges, correlation {:.4f}",
                        name_of(k == 0 ? result.graph.rule : result.other->rule), check.edges.size(),
                        check.correlation);
    if (!check.edges.empty()) {
      const CheckedEdge& worst = check.edges[check.worst];
      text +=
          fmt::format("; worst ratio {:.3f}, {} → {} ({:+.4f} for {:+.4f})", worst.ratio(),
                      placed(result, static_cast<std::size_t>(worst.source)),
                      placed(result, static_cast<std::size_t>(worst.target)), worst.effect, worst.claimed);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string graph_text(const GraphResult& result) {
  const AttributionGraph& graph = result.graph;
  std::string text = fmt::format("step {}\n", result.step) + said_text(result) + explained_text(result);
  text += fmt::format("kept         {} of {} subcomponents at positions with an importance above 0\n",
                      result.pruned.front().nodes, result.alive);
  text += fmt::format(
      "accounts for {:.0f} % of the paths behind what is explained, {} rule: the rest ends in "
      "what was left out\n",
      100.0 * graph.scores.replacement, name_of(graph.rule));
  text += verdict_text(result);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].kind == Kind::subcomponent && graph.nodes[i].shown) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return graph.nodes[a].influence > graph.nodes[b].influence;
  });
  text += fmt::format("\n{:<34} {:>9} {:>10}  the most influential nodes\n", "", "influence", "importance");
  for (std::size_t k = 0; k < order.size() && static_cast<std::int64_t>(k) < result.most; ++k) {
    const std::size_t i = order[k];
    const GraphNode& node = graph.nodes[i];
    text += fmt::format("{:<34} {:>9.3f} {:>10.2f}  at {}{}\n", placed(result, i), node.influence,
                        node.importance, printable(result.texts[static_cast<std::size_t>(node.at)]),
                        result.labels[i].empty() ? "" : "  " + printable(result.labels[i]));
  }
  text += fmt::format("\nthe strongest edges into what is explained, {} rule\n", name_of(graph.rule));
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    if (is_asked(graph, node))
      text +=
          fmt::format("  {} ({} {:.2f})\n", placed(result, i), graph.features ? "value" : "logit", node.F) +
          edges_into(result, i, 6);
  }
  return text + handoffs_text(result) + checks_text(result) +
         fmt::format("\nresult       {}\n", result.directory.string());
}

}  // namespace vpd
