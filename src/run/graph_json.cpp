// A graph for programs.

#include <cmath>

#include <nlohmann/json.hpp>

#include "vpd/base/json_text.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;
using Kind = GraphNode::Kind;

const char* name_of(Kind kind, bool features) {
  switch (kind) {
    case Kind::subcomponent:
      return "subcomponent";
    case Kind::delta:
      return "delta";
    case Kind::embedding:
      return features ? "feature" : "embedding";
    default:
      return features ? "output" : "logit";
  }
}

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

/// What a reading says of a node: all that hangs on the rule.
Json read_json(const GraphNode& node) {
  Json json = {{"influence", node.influence}, {"shown", node.shown}};
  if (node.kind == Kind::subcomponent || node.kind == Kind::logit) {
    json["F"] = node.F;
    for (std::size_t k = 0; k < balance_names.size(); ++k)
      json["balance"][balance_names[k]] = node.balance[k];
  }
  return json;
}

Json edges_json(const AttributionGraph& graph) {
  Json edges = Json::array();
  for (const GraphEdge& edge : graph.edges)
    if (edge.shown) edges.push_back({edge.source, edge.target, edge.weight});
  return edges;
}

Json scores_json(const GraphScores& scores) {
  return {{"replacement", scores.replacement}, {"completeness", scores.completeness}};
}

Json check_json(const EdgeCheck& check) {
  Json edges = Json::array();
  for (const CheckedEdge& edge : check.edges)
    edges.push_back({edge.source, edge.target, edge.claimed, edge.effect});
  return {{"correlation", check.correlation},
          {"worst_ratio", check.edges.empty() ? Json() : Json(check.edges[check.worst].ratio())},
          {"edges", edges}};
}

Json document_of(const GraphResult& result) {
  const AttributionGraph& graph = result.graph;
  Json nodes = Json::array(), targets = Json::array(), pruned = Json::array(), handoffs = Json::array(),
       clusters = Json::array();
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    Json json = {{"id", i},
                 {"kind", name_of(node.kind, graph.features)},
                 {"at", node.at},
                 {"name", result.names[i]},
                 {"layer", result.layers[i]}};
    json.update(read_json(node));
    if (node.kind == Kind::subcomponent)
      json.update({{"key", result.names[i]},
                   {"label", result.labels[i]},
                   {"importance", node.importance},
                   {"importance_before", node.importance_before}});
    if (node.kind == Kind::logit)
      json.update({{"token", node.which}, {graph.features ? "share" : "p", node.importance}});
    if (node.kind == Kind::embedding) json["token"] = node.which;
    nodes.push_back(std::move(json));
  }
  for (const OutputTarget& target : graph.targets)
    targets.push_back({{"at", target.at}, {"token", target.token ? Json(*target.token) : Json()}});
  for (const PrunedGraph& one : result.pruned)
    pruned.push_back(
        {{"masks", name_of(one.masks)}, {"nodes", one.nodes}, {"verdict", verdict_json(one.verdict)}});
  for (const Handoff& handoff : graph.handoffs)
    handoffs.push_back({handoff.source, handoff.target, handoff.log_p});
  for (const NodeCluster& cluster : result.clusters)
    clusters.push_back({{"name", cluster.name}, {"nodes", cluster.nodes}});
  const PrunedGraph& first = result.pruned.front();
  Json document = {{"step", result.step},
                   {"tokens", graph.tokens},
                   {"texts", result.texts},
                   {"said", result.said},
                   {"targets", targets},
                   {"masks", result.all_nodes ? "none" : name_of(first.masks)},
                   {"rule", name_of(graph.rule)},
                   {"faithful", first.verdict.faithful},
                   {"reason", first.verdict.reason},
                   {"alive", result.alive},
                   {"kept", first.nodes},
                   {"scores", scores_json(graph.scores)},
                   {"pruned", pruned},
                   {"nodes", nodes},
                   {"edges", edges_json(graph)},
                   {"handoffs", handoffs},
                   {"clusters", clusters}};
  if (!result.checks.empty()) document["check"] = check_json(result.checks.front());
  if (result.other) {
    Json others = Json::array();
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      Json json = {{"id", i}};
      json.update(read_json(result.other->nodes[i]));
      others.push_back(std::move(json));
    }
    document["other_reading"] = {{"rule", name_of(result.other->rule)},
                                 {"scores", scores_json(result.other->scores)},
                                 {"nodes", others},
                                 {"edges", edges_json(*result.other)}};
    if (result.checks.size() > 1) document["other_reading"]["check"] = check_json(result.checks[1]);
  }
  return document;
}

}  // namespace

std::string graph_json(const GraphResult& result) {
  Json document = document_of(result), beside = Json::array();
  for (const GraphResult& other : result.beside) beside.push_back(document_of(other));
  document.update({{"beside", beside}, {"seconds", result.seconds}, {"warnings", result.warnings}});
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
