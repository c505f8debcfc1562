// Interactions for people and for programs.

#include <algorithm>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/base/text.hpp"
#include "vpd/run/interactions.hpp"

namespace vpd {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t stripes_shown = 5;

double entry(const at::Tensor& matrix, const InteractingPair& pair) {
  return matrix.const_data_ptr<double>()[pair.row * matrix.size(1) + pair.column];
}

/// The largest sums with their keys, falling.
Json largest(const std::vector<double>& sums, const std::vector<std::string>& keys, double total) {
  std::vector<std::size_t> order(sums.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sums[a] > sums[b]; });
  Json found = Json::array();
  for (std::size_t k = 0; k < std::min(stripes_shown, order.size()) && sums[order[k]] > 0.0; ++k)
    found.push_back({{"key", keys[order[k]]}, {"sum", sums[order[k]]}, {"share", sums[order[k]] / total}});
  return found;
}

Json table_json(const InteractionTable& table) {
  const Interactions& all = table.interactions;
  const double total = table.mean * static_cast<double>(table.pairs);
  Json strongest = Json::array();
  for (const InteractingPair& pair : table.strongest) {
    const auto r = static_cast<std::size_t>(pair.row), c = static_cast<std::size_t>(pair.column);
    Json one = {{"row", table.row_keys[r]},
                {"column", table.column_keys[c]},
                {"row_label", table.row_labels[r]},
                {"column_label", table.column_labels[c]},
                {"row_firings", table.row_firings[r]},
                {"column_firings", table.column_firings[c]},
                {"strength", pair.strength},
                {"weight_overlap", entry(all.weight_overlap, pair)},
                {"activation_overlap", entry(all.activation_overlap, pair)}};
    if (all.curvature.defined()) one["curvature"] = entry(all.curvature, pair);
    strongest.push_back(std::move(one));
  }
  Json json = {{"site", table.rows_site},
               {"columns", table.columns_site},
               {"alive", table.rows.size()},
               {"alive_columns", table.columns.size()},
               {"few", table.few},
               {"pairs", table.pairs},
               {"mean", table.mean},
               {"above_0.1", table.above_tenth},
               {"above_1", table.above_one},
               {"histogram", {{"edges", interaction_bins()}, {"counts", table.histogram}}},
               {"row_stripe", table.row_stripe},
               {"column_stripe", table.column_stripe},
               {"stripes",
                {{"rows", largest(table.row_stripes, table.row_keys, total)},
                 {"columns", largest(table.column_stripes, table.column_keys, total)}}},
               {"strongest", strongest}};
  if (table.inside_clusters)
    json["clusters"] = {{"strength_inside", *table.inside_clusters},
                        {"pairs_inside", *table.pairs_in_cluster}};
  return json;
}

std::string table_text(const InteractionTable& table, std::int64_t most) {
  std::string text = table.square()
                         ? fmt::format("\n{}: {} subcomponents fire", table.rows_site, table.rows.size())
                         : fmt::format("\n{} with {}: {} by {} subcomponents", table.rows_site,
                                       table.columns_site, table.rows.size(), table.columns.size());
  text += fmt::format("; of {} pairs {:.2f} % above 0.1, {:.2f} % above 1, mean {:.4f}\n", table.pairs,
                      100.0 * table.above_tenth, 100.0 * table.above_one, table.mean);
  if (table.few > 0)
    text += fmt::format("{} rows that fire at fewer than {} positions are left out of this\n", table.few,
                        few_firings);
  if (!table.strongest.empty())
    text += fmt::format("the largest row has {:.1f} % of all strength, the largest column {:.1f} %\n",
                        100.0 * table.row_stripe, 100.0 * table.column_stripe);
  if (table.inside_clusters)
    text += fmt::format("inside clusters: {:.1f} % of all strength, {:.1f} % of the pairs\n",
                        100.0 * *table.inside_clusters, 100.0 * *table.pairs_in_cluster);
  if (table.strongest.empty()) return text;
  const bool curvature = table.interactions.curvature.defined();
  text += fmt::format("{:<24} {:<24} {:>8} {:>8} {:>11}{}\n", "", "with", "strength", "weights",
                      "activations", curvature ? fmt::format(" {:>9}", "curvature") : "");
  for (std::size_t i = 0; i < table.strongest.size() && static_cast<std::int64_t>(i) < most; ++i) {
    const InteractingPair& pair = table.strongest[i];
    const auto r = static_cast<std::size_t>(pair.row), c = static_cast<std::size_t>(pair.column);
    text += fmt::format("{:<24} {:<24} {:>8.3f} {:>8.3f} {:>11.4f}", table.row_keys[r], table.column_keys[c],
                        pair.strength, entry(table.interactions.weight_overlap, pair),
                        entry(table.interactions.activation_overlap, pair));
    if (curvature) text += fmt::format(" {:>9.3f}", entry(table.interactions.curvature, pair));
    const std::string labels =
        table.row_labels[r] + (table.column_labels[c].empty() ? "" : " / " + table.column_labels[c]);
    text += (labels.empty() ? "" : "  " + printable(labels)) + "\n";
  }
  return text;
}

}  // namespace

std::string interactions_text(const InteractionResult& result) {
  std::string text = fmt::format("step {}, {} positions\n", result.step, result.positions);
  for (const InteractionTable& table : result.tables) text += table_text(table, result.most);
  text +=
      "\nstrength: shared neurons times shared positions, 1 for a subcomponent with itself; the row's own "
      "size is the measure\n";
  return text + fmt::format("\nresult       {}\n", result.directory.string());
}

std::string interactions_json(const InteractionResult& result) {
  Json tables = Json::array();
  for (const InteractionTable& table : result.tables) tables.push_back(table_json(table));
  const Json document = {{"step", result.step},       {"positions", result.positions},
                         {"order", result.order},     {"tables", tables},
                         {"seconds", result.seconds}, {"warnings", result.warnings}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
