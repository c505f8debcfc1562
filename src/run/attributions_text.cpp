// Attributions for people and for programs.

#include <nlohmann/json.hpp>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/attributions.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

std::string label_of(const AttributionResult& result, std::int64_t column) {
  return column < result.total_C ? result.labels[static_cast<std::size_t>(column)] : "";
}

std::string labels_text(const std::string& from, const std::string& to) {
  if (from.empty() && to.empty()) return "";
  return "  " + printable(from) + (to.empty() ? "" : " -> " + printable(to));
}

Json edge_json(const AttributionResult& result, const AttributionEdge& edge) {
  Json json = {{"source", result.name(edge.source)},
               {"target", result.name(edge.target)},
               {"sum", edge.sum},
               {"normalised", edge.normalised}};
  if (result.absolute) json["absolute"] = edge.absolute;
  return json;
}

}  // namespace

std::string attributions_text(const AttributionResult& result) {
  std::string text =
      fmt::format("step {}, {} positions, rule {}; {} pairs of sites, {} of them by backward passes\n{}\n\n",
                  result.step, result.positions, result.complete ? "complete" : "published", result.wires,
                  result.backward, attribution_caveat(result.complete));
  text += fmt::format("{:<26} {:<26} {:>10} {:>11}{}\n", "the strongest edges: from", "into", "normalised",
                      "sum", result.absolute ? fmt::format(" {:>11}", "absolute") : "");
  for (std::size_t i = 0; i < result.strongest.size() && static_cast<std::int64_t>(i) < result.most; ++i) {
    const AttributionEdge& edge = result.strongest[i];
    text += fmt::format("{:<26} {:<26} {:>+10.4f} {:>+11.4g}", result.name(edge.source),
                        result.name(edge.target), edge.normalised, edge.sum);
    if (result.absolute) text += fmt::format(" {:>+11.4g}", edge.absolute);
    text += labels_text(label_of(result, edge.source), label_of(result, edge.target)) + "\n";
  }
  for (const TokenSources& token : result.tokens) {
    text += fmt::format("\ninto the logit of {}\n", printable(token.text));
    for (const AttributionEdge& edge : token.edges)
      text += fmt::format("{:<26} {:>+10.4f} {:>+11.4g}{}\n", result.name(edge.source), edge.normalised,
                          edge.sum, labels_text(label_of(result, edge.source), ""));
  }
  text +=
      "\nnormalised: the sum over the source's importance in all and the root mean square of the target's "
      "activation\n";
  return text + fmt::format("\nresult       {}\n", result.directory.string());
}

std::string attributions_json(const AttributionResult& result) {
  Json strongest = Json::array(), tokens = Json::array();
  for (const AttributionEdge& edge : result.strongest) strongest.push_back(edge_json(result, edge));
  for (const TokenSources& token : result.tokens) {
    Json edges = Json::array();
    for (const AttributionEdge& edge : token.edges)
      edges.push_back(
          {{"source", result.name(edge.source)}, {"sum", edge.sum}, {"normalised", edge.normalised}});
    tokens.push_back({{"token", token.token}, {"text", token.text}, {"edges", edges}});
  }
  const Json document = {{"step", result.step},
                         {"positions", result.positions},
                         {"rule", result.complete ? "complete" : "published"},
                         {"caveat", attribution_caveat(result.complete)},
                         {"pairs", result.wires},
                         {"by_backward_passes", result.backward},
                         {"edges", result.edges.size()},
                         {"strongest", strongest},
                         {"tokens", tokens},
                         {"seconds", result.seconds},
                         {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
