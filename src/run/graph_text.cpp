// A graph for people and for programs.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <nlohmann/json.hpp>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;
using Kind = GraphNode::Kind;

constexpr const char* kind_names[] = {"subcomponent", "delta", "embedding", "logit"};
const char* name_of(Kind kind) { return kind_names[static_cast<std::size_t>(kind)]; }

Json outputs_json(const MaskedOutputs& outputs) {
  Json json = {{"D", outputs.D}, {"D_spread", outputs.D_spread}};
  if (!std::isnan(outputs.p)) json.update({{"p", outputs.p}, {"p_spread", outputs.p_spread}});
  return json;
}

Json verdict_json(const PruneVerdict& v) {
  return {{"target", outputs_json(v.target)},
          {"unmasked", outputs_json(v.unmasked)},
          {"importance", outputs_json(v.importance)},
          {"rounded", outputs_json(v.rounded)},
          {"stochastic", outputs_json(v.stochastic)},
          {"adversarial_4x1", outputs_json(v.adversarial_short)},
          {"adversarial_20x0.1", outputs_json(v.adversarial_long)},
          {"zeroed", outputs_json(v.zeroed)},
          {"faithful", v.faithful},
          {"reason", v.reason}};
}

std::string placed(const GraphResult& result, std::size_t node) {
  const GraphNode& one = result.graph.nodes[node];
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

}  // namespace

std::string graph_text(const GraphResult& result) {
  const AttributionGraph& graph = result.graph;
  std::string text = fmt::format("step {}\n", result.step);
  for (const OutputTarget& target : graph.targets)
    text += fmt::format("explained    {} behind {}@{}\n",
                        target.token ? [&] {
                          for (std::size_t i = 0; i < graph.nodes.size(); ++i)
                            if (graph.nodes[i].kind == Kind::logit && graph.nodes[i].which == *target.token &&
                                graph.nodes[i].at == target.at)
                              return printable(result.names[i]);
                          return fmt::format("#{}", *target.token);
                        }()
                                     : std::string("all that is said"),
                        printable(result.texts[static_cast<std::size_t>(target.at)]), target.at);
  text += fmt::format("kept         {} of {} subcomponents at positions with an importance above 0\n",
                      result.pruned.front().nodes, result.alive);
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
  text += "\nthe strongest edges into what is explained\n";
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    const bool asked =
        node.kind == Kind::logit &&
        std::any_of(graph.targets.begin(), graph.targets.end(), [&](const OutputTarget& target) {
          return target.at == node.at && (!target.token || *target.token == node.which);
        });
    if (asked)
      text += fmt::format("  {} (logit {:.2f})\n", placed(result, i), node.F) + edges_into(result, i, 6);
  }
  return text + fmt::format("\nresult       {}\n", result.directory.string());
}

std::string graph_json(const GraphResult& result) {
  const AttributionGraph& graph = result.graph;
  Json nodes = Json::array(), edges = Json::array(), targets = Json::array(), pruned = Json::array();
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    Json json = {{"id", i},
                 {"kind", name_of(node.kind)},
                 {"at", node.at},
                 {"name", result.names[i]},
                 {"layer", result.layers[i]},
                 {"influence", node.influence},
                 {"shown", node.shown}};
    if (node.kind == Kind::subcomponent)
      json.update({{"key", result.names[i]},
                   {"label", result.labels[i]},
                   {"importance", node.importance},
                   {"importance_before", node.importance_before}});
    if (node.kind == Kind::logit) json.update({{"token", node.which}, {"p", node.importance}});
    if (node.kind == Kind::embedding) json["token"] = node.which;
    if (node.kind == Kind::subcomponent || node.kind == Kind::logit) {
      json["F"] = node.F;
      for (std::size_t k = 0; k < balance_names.size(); ++k)
        json["balance"][balance_names[k]] = node.balance[k];
    }
    nodes.push_back(std::move(json));
  }
  for (const GraphEdge& edge : graph.edges)
    if (edge.shown) edges.push_back({edge.source, edge.target, edge.weight});
  for (const OutputTarget& target : graph.targets)
    targets.push_back({{"at", target.at}, {"token", target.token ? Json(*target.token) : Json()}});
  for (const PrunedGraph& one : result.pruned)
    pruned.push_back(
        {{"masks", name_of(one.masks)}, {"nodes", one.nodes}, {"verdict", verdict_json(one.verdict)}});
  const PrunedGraph& first = result.pruned.front();
  const Json document = {{"step", result.step},
                         {"tokens", graph.tokens},
                         {"texts", result.texts},
                         {"targets", targets},
                         {"masks", result.all_nodes ? "none" : name_of(first.masks)},
                         {"rule", "published"},
                         {"faithful", first.verdict.faithful},
                         {"reason", first.verdict.reason},
                         {"alive", result.alive},
                         {"kept", first.nodes},
                         {"pruned", pruned},
                         {"nodes", nodes},
                         {"edges", edges},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

std::string viewer_json(const GraphResult& result, const std::string& slug) {
  const AttributionGraph& graph = result.graph;
  const std::int64_t top = *std::max_element(result.layers.begin(), result.layers.end());
  // Numbers of columns within a stage: the viewer pairs stage and number into one.
  std::vector<std::string> ids(graph.nodes.size());
  std::vector<std::size_t> order;
  double total = 0.0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!graph.nodes[i].shown) continue;
    order.push_back(i);
    total += graph.nodes[i].influence;
  }
  std::vector<double> cumulative(graph.nodes.size());
  std::vector<std::size_t> by_influence = order;
  std::stable_sort(by_influence.begin(), by_influence.end(), [&](std::size_t a, std::size_t b) {
    return graph.nodes[a].influence > graph.nodes[b].influence;
  });
  double sum = 0.0;
  for (const std::size_t i : by_influence) {
    sum += graph.nodes[i].influence;
    cumulative[i] = total > 0.0 ? sum / total : 0.0;
  }
  Json nodes = Json::array(), links = Json::array(), tokens = Json::array();
  std::string prompt;
  for (const std::string& text : result.texts) {
    tokens.push_back(text);
    prompt += text;
  }
  for (const std::size_t i : order) {
    const GraphNode& node = graph.nodes[i];
    const std::int64_t layer = node.kind == Kind::logit ? top + 1 : result.layers[i];
    const std::string L = node.kind == Kind::embedding ? "E" : std::to_string(layer);
    const std::string what =
        node.kind == Kind::delta ? "delta" + std::to_string(node.which) : std::to_string(node.which);
    ids[i] = fmt::format("{}_{}_{}", L, what, node.at);
    const std::int64_t feature = node.kind == Kind::delta ? -1
                                 : node.kind == Kind::subcomponent
                                     ? (layer + node.which) * (layer + node.which + 1) / 2 + node.which
                                     : node.which;
    std::string clerp = result.labels[i].empty() ? result.names[i] : result.labels[i];
    if (node.kind == Kind::logit)
      clerp = fmt::format("Output \"{}\" (p={:.3f})", result.names[i], node.importance);
    const bool asked =
        node.kind == Kind::logit &&
        std::any_of(graph.targets.begin(), graph.targets.end(), [&](const OutputTarget& target) {
          return target.at == node.at && target.token && *target.token == node.which;
        });
    nodes.push_back({{"node_id", ids[i]},
                     {"feature", feature},
                     {"layer", L},
                     {"ctx_idx", node.at},
                     {"feature_type", node.kind == Kind::subcomponent ? "cross layer transcoder"
                                      : node.kind == Kind::delta      ? "mlp reconstruction error"
                                                                      : name_of(node.kind)},
                     {"jsNodeId", fmt::format("{}_{}-0", L, what)},
                     {"clerp", clerp},
                     {"influence", cumulative[i]},
                     {"activation", node.kind == Kind::subcomponent ? Json(node.F) : Json()},
                     {"token_prob", node.kind == Kind::logit ? node.importance : 0.0},
                     {"is_target_logit", asked},
                     {"run_idx", 0},
                     {"reverse_ctx_idx", 0}});
  }
  for (const GraphEdge& edge : graph.edges)
    if (edge.shown)
      links.push_back({{"source", ids[static_cast<std::size_t>(edge.source)]},
                       {"target", ids[static_cast<std::size_t>(edge.target)]},
                       {"weight", edge.weight}});
  const Json document = {{"metadata",
                          {{"slug", slug},
                           {"scan", "vpd"},
                           {"transcoder_list", Json::array()},
                           {"prompt_tokens", tokens},
                           {"prompt", prompt},
                           {"node_threshold", 0.8},
                           {"schema_version", 1},
                           {"info", {{"generator", {{"name", "vpd"}, {"version", version()}}}}},
                           {"pruning_settings", {{"node_threshold", 0.8}, {"edge_threshold", 0.98}}}}},
                         {"qParams",
                          {{"linkType", "both"},
                           {"pinnedIds", Json::array()},
                           {"clickedId", ""},
                           {"supernodes", Json::array()},
                           {"sg_pos", ""}}},
                         {"nodes", nodes},
                         {"links", links}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
