// The drawn part of a graph in the files of other programs: the schema that Neuronpedia takes and that
// circuit-tracer writes and draws.

#include <algorithm>

#include <nlohmann/json.hpp>

#include "vpd/base/json_text.hpp"
#include "vpd/base/version.hpp"
#include "vpd/run/graph.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;
using Kind = GraphNode::Kind;

class Viewer {
 public:
  Viewer(const GraphResult& result, const std::string& slug)
      : result_(result), graph_(result.graph), slug_(slug) {
    top_ = *std::max_element(result.layers.begin(), result.layers.end());
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i)
      if (graph_.nodes[i].shown) shown_.push_back(i);
    ids_.resize(graph_.nodes.size());
    for (const std::size_t i : shown_) ids_[i] = fmt::format("{}_{}", place(i), graph_.nodes[i].at);
  }

  ViewerFiles files() const {
    ViewerFiles files;
    const Json metadata = metadata_json(), graph = {{"metadata", metadata},
                                                    {"qParams",
                                                     {{"linkType", "both"},
                                                      {"pinnedIds", Json::array()},
                                                      {"clickedId", ""},
                                                      {"supernodes", supernodes_json()},
                                                      {"sg_pos", ""}}},
                                                    {"nodes", nodes_json()},
                                                    {"links", links_json()}};
    files.graph = json_text(graph, 1) + "\n";
    files.metadata = json_text(Json{{"graphs", Json::array({metadata})}}, 1) + "\n";
    for (const std::size_t i : shown_) {
      const auto found = result_.examples.find(graph_.nodes[i].which);
      if (graph_.nodes[i].kind == Kind::subcomponent && found != result_.examples.end())
        files.features[feature(i)] = json_text(feature_json(feature(i), found->second)) + "\n";
    }
    return files;
  }

 private:
  std::int64_t layer(std::size_t i) const {
    return graph_.nodes[i].kind == Kind::logit ? top_ + 1 : result_.layers[i];
  }
  std::string layer_name(std::size_t i) const {
    return graph_.nodes[i].kind == Kind::embedding ? "E" : std::to_string(layer(i));
  }
  /// Layer and number within it; what Δ leaves over has numbers of its own.
  std::string place(std::size_t i) const {
    const bool delta = graph_.nodes[i].kind == Kind::delta;
    return fmt::format("{}_{}{}", layer_name(i), delta ? "delta" : "", result_.within[i]);
  }
  /// Layer and number as one, by Cantor's pairing, for subcomponents.
  std::int64_t feature(std::size_t i) const {
    const std::int64_t L = layer(i), number = result_.within[i];
    switch (graph_.nodes[i].kind) {
      case Kind::subcomponent:
        return (L + number) * (L + number + 1) / 2 + number;
      case Kind::delta:
        return -1;
      default:
        return number;
    }
  }

  Json metadata_json() const {
    std::string prompt;
    for (const std::string& text : result_.texts) prompt += text;
    return {{"slug", slug_},
            {"scan", "vpd"},
            {"transcoder_list", Json::array()},
            {"prompt_tokens", result_.texts},
            {"prompt", prompt},
            {"node_threshold", result_.node_share},
            {"schema_version", 1},
            {"info", {{"generator", {{"name", "vpd"}, {"version", version()}}}}},
            {"pruning_settings",
             {{"node_threshold", result_.node_share}, {"edge_threshold", result_.edge_share}}}};
  }

  Json supernodes_json() const {
    Json all = Json::array();
    for (const NodeCluster& cluster : result_.clusters) {
      Json one = Json::array({cluster.name});
      for (const std::size_t i : cluster.nodes)
        if (graph_.nodes[i].shown) one.push_back(ids_[i]);
      if (one.size() > 2) all.push_back(std::move(one));
    }
    return all;
  }

  /// Of each node, how much of all influence is as large as its own or larger.
  std::vector<double> cumulative_influence() const {
    double total = 0.0, sum = 0.0;
    for (const std::size_t i : shown_) total += graph_.nodes[i].influence;
    std::vector<std::size_t> order = shown_;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return graph_.nodes[a].influence > graph_.nodes[b].influence;
    });
    std::vector<double> cumulative(graph_.nodes.size());
    for (const std::size_t i : order) {
      sum += graph_.nodes[i].influence;
      cumulative[i] = total > 0.0 ? sum / total : 0.0;
    }
    return cumulative;
  }

  Json nodes_json() const {
    const std::vector<double> cumulative = cumulative_influence();
    Json nodes = Json::array();
    for (const std::size_t i : shown_) {
      const GraphNode& node = graph_.nodes[i];
      const bool subcomponent = node.kind == Kind::subcomponent, logit = node.kind == Kind::logit;
      // The page of circuit-tracer takes the token and its probability out of a logit's text.
      const std::string text =
          logit ? fmt::format("Output \"{}\" (p={:.3f})", result_.names[i], node.importance)
          : result_.labels[i].empty() ? result_.names[i]
                                      : result_.labels[i];
      nodes.push_back({{"node_id", ids_[i]},
                       {"feature", feature(i)},
                       {"layer", layer_name(i)},
                       {"ctx_idx", node.at},
                       {"feature_type", type_of(node.kind)},
                       {"jsNodeId", place(i) + "-0"},
                       {"clerp", text},
                       {"influence", cumulative[i]},
                       {"activation", subcomponent ? Json(node.F) : Json()},
                       {"token_prob", logit ? node.importance : 0.0},
                       {"is_target_logit", is_asked_token(node)},
                       {"run_idx", 0},
                       {"reverse_ctx_idx", 0}});
    }
    return nodes;
  }

  bool is_asked_token(const GraphNode& node) const {
    return node.kind == Kind::logit &&
           std::any_of(graph_.targets.begin(), graph_.targets.end(), [&](const OutputTarget& target) {
             return target.at == node.at && target.token == node.which;
           });
  }

  /// The words by which both viewers choose a node's colour and shape.
  static const char* type_of(Kind kind) {
    switch (kind) {
      case Kind::subcomponent:
        return "cross layer transcoder";
      case Kind::delta:
        return "mlp reconstruction error";
      case Kind::embedding:
        return "embedding";
      default:
        return "logit";
    }
  }

  Json links_json() const {
    Json links = Json::array();
    for (const GraphEdge& edge : graph_.edges)
      if (edge.shown)
        links.push_back({{"source", ids_[static_cast<std::size_t>(edge.source)]},
                         {"target", ids_[static_cast<std::size_t>(edge.target)]},
                         {"weight", edge.weight}});
    return links;
  }

  static Json feature_json(std::int64_t number, const NodeExamples& examples) {
    Json groups = Json::array();
    for (const NodeExamples::Group& group : examples.groups) {
      Json all = Json::array();
      for (std::size_t k = 0; k < group.tokens.size(); ++k)
        all.push_back({{"tokens", group.tokens[k]}, {"tokens_acts_list", group.activations[k]}});
      groups.push_back({{"quantile_name", group.name}, {"examples", all}});
    }
    return {{"index", number},
            {"examples_quantiles", groups},
            {"top_logits", examples.top},
            {"bottom_logits", examples.bottom}};
  }

  const GraphResult& result_;
  const AttributionGraph& graph_;
  const std::string& slug_;
  std::int64_t top_ = 0;
  std::vector<std::size_t> shown_;
  std::vector<std::string> ids_;  // of nodes that are shown
};

}  // namespace

ViewerFiles viewer_files(const GraphResult& result, const std::string& slug) {
  return Viewer(result, slug).files();
}

}  // namespace vpd
