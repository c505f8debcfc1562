#include "vpd/run/graph_diff.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/interpretation/results.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/safetensors.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// What a node is called in any graph, and its position, from the start or from the end.
using Identity = std::pair<std::string, std::int64_t>;

/// A directory that `vpd graph` left.
class StoredGraph {
 public:
  StoredGraph(const fs::path& directory, bool from_end)
      : directory_(directory), about_(read_about(directory)) {
    const fs::path path = directory / "graph.json";
    graph_ = Json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
    const bool whole = graph_.is_object() && graph_.contains("nodes") && graph_["nodes"].is_array() &&
                       graph_.contains("texts") && graph_["texts"].is_array();
    VPD_CHECK(whole, DataError, "{}: expected a graph, found something else; run `vpd graph` again",
              path.string());
    const auto T = static_cast<std::int64_t>(graph_["texts"].size());
    for (const Json& node : graph_["nodes"]) {
      const auto kind = node.at("kind").get<std::string>();
      // A token that is read is the same node whichever it is.
      const std::string name = kind == "embedding" ? kind : kind + " " + node.at("name").get<std::string>();
      identities_.push_back({name, node.at("at").get<std::int64_t>() - (from_end ? T : 0)});
    }
  }

  const Json& about() const { return about_; }
  const Json& nodes() const { return graph_["nodes"]; }
  std::string name() const {
    return to_valid_utf8(fs::absolute(directory_).lexically_normal().filename().string());
  }
  std::string rule() const { return graph_.value("rule", std::string("published")); }
  std::vector<std::string> texts() const { return graph_["texts"].get<std::vector<std::string>>(); }
  const std::vector<Identity>& identities() const { return identities_; }

  /// Weights by that rule; 0 where the rule has no such edge.
  std::map<std::pair<Identity, Identity>, double> edges(const std::string& wanted) const {
    const SafetensorsFile file(directory_ / "edges.safetensors");
    const std::string column = rule() == wanted ? "weight" : wanted;
    VPD_CHECK(file.find(column), DataError,
              "{}: expected edges by the {} rule, found those of the {} rule alone; run `vpd graph` with "
              "--rule both",
              file.path().string(), wanted, rule());
    const at::Tensor source = file.load("source").to(at::kLong), target = file.load("target").to(at::kLong),
                     weight = file.load(column).to(at::kDouble);
    const auto count = static_cast<std::int64_t>(identities_.size());
    std::map<std::pair<Identity, Identity>, double> all;
    for (std::int64_t e = 0; e < weight.numel(); ++e) {
      const std::int64_t from = source.const_data_ptr<std::int64_t>()[e],
                         to = target.const_data_ptr<std::int64_t>()[e];
      VPD_CHECK(from >= 0 && from < count && to >= 0 && to < count, DataError,
                "{}: expected nodes below {}, found an edge from {} to {}; run `vpd graph` again",
                file.path().string(), count, from, to);
      const double value = weight.const_data_ptr<double>()[e];
      if (value != 0.0)
        all[{identities_[static_cast<std::size_t>(from)], identities_[static_cast<std::size_t>(to)]}] = value;
    }
    return all;
  }

 private:
  fs::path directory_;
  Json about_, graph_;
  std::vector<Identity> identities_;
};

fs::path place_of(const fs::path& named, const GraphDiffOptions& options) {
  if (!options.run) {
    std::error_code error;
    VPD_CHECK(fs::is_directory(named, error), DataError,
              "{}: expected a directory that `vpd graph` left, found none; a graph's name needs --run RUN "
              "beside it",
              named.string());
    return named;
  }
  const RunDirectory run = RunDirectory::open(*options.run);
  const auto latest = run.latest();
  VPD_CHECK(options.checkpoint || latest, DataError, "{}: expected a checkpoint, found none",
            options.run->string());
  const std::int64_t step = options.checkpoint ? *options.checkpoint : latest->step;
  check_slug(named.string());
  return existing_result(run, step, (fs::path("graphs") / named).string(), "graph");
}

void compare_nodes(const StoredGraph& a, const StoredGraph& b, GraphDiff& diff) {
  std::map<Identity, DiffNode> nodes;
  const auto add = [&](const StoredGraph& graph, std::optional<std::int64_t> DiffNode::*at,
                       double DiffNode::*importance, double DiffNode::*influence) {
    for (std::size_t i = 0; i < graph.identities().size(); ++i) {
      const Json& node = graph.nodes()[i];
      if (node["kind"] != "subcomponent") continue;
      DiffNode& found = nodes[graph.identities()[i]];
      found.key = node.value("key", std::string());
      found.label = node.value("label", std::string());
      found.*at = node.value("at", std::int64_t{0});
      found.*importance = node.value("importance", 0.0);
      found.*influence = node.value("influence", 0.0);
    }
  };
  add(a, &DiffNode::at_a, &DiffNode::importance_a, &DiffNode::influence_a);
  add(b, &DiffNode::at_b, &DiffNode::importance_b, &DiffNode::influence_b);
  for (const auto& [identity, node] : nodes)
    (!node.at_b ? diff.only_a : !node.at_a ? diff.only_b : diff.shared).push_back(node);
  for (auto* list : {&diff.shared, &diff.only_a, &diff.only_b})
    std::stable_sort(list->begin(), list->end(),
                     [](const DiffNode& x, const DiffNode& y) { return x.influence() > y.influence(); });
}

double correlation_of(const std::vector<std::array<double, 2>>& pairs) {
  if (pairs.size() < 2) return 0.0;
  const at::Tensor x = at::empty({static_cast<std::int64_t>(pairs.size()), 2}, at::kDouble);
  for (std::size_t k = 0; k < pairs.size(); ++k)
    for (std::size_t side = 0; side < 2; ++side) x.mutable_data_ptr<double>()[2 * k + side] = pairs[k][side];
  const at::Tensor centred = x - x.mean(0);
  const double both = centred.square().sum(0).prod().sqrt().item<double>();
  return both > 0.0 ? centred.prod(1).sum().item<double>() / both : 0.0;
}

void compare_edges(const StoredGraph& a, const StoredGraph& b, GraphDiff& diff) {
  const auto in_both = [](const StoredGraph& graph, const StoredGraph& other, const std::string& rule) {
    const std::set<Identity> known(other.identities().begin(), other.identities().end());
    auto edges = graph.edges(rule);
    std::erase_if(edges, [&](const auto& edge) {
      return !known.contains(edge.first.first) || !known.contains(edge.first.second);
    });
    return edges;
  };
  const auto of_a = in_both(a, b, diff.rule), of_b = in_both(b, a, diff.rule);
  std::vector<std::array<double, 2>> pairs;
  for (const auto& [ends, weight] : of_a)
    if (const auto other = of_b.find(ends); other != of_b.end()) pairs.push_back({weight, other->second});
  diff.edges_a = static_cast<std::int64_t>(of_a.size());
  diff.edges_b = static_cast<std::int64_t>(of_b.size());
  diff.shared_edges = static_cast<std::int64_t>(pairs.size());
  diff.correlation = correlation_of(pairs);
}

Json nodes_json(const std::vector<DiffNode>& nodes) {
  Json all = Json::array();
  for (const DiffNode& node : nodes) {
    Json json = {{"key", node.key}, {"label", node.label}};
    if (node.at_a)
      json["a"] = {{"at", *node.at_a}, {"importance", node.importance_a}, {"influence", node.influence_a}};
    if (node.at_b)
      json["b"] = {{"at", *node.at_b}, {"importance", node.importance_b}, {"influence", node.influence_b}};
    all.push_back(std::move(json));
  }
  return all;
}

}  // namespace

GraphDiff graph_diff(const GraphDiffOptions& options) {
  VPD_CHECK(!options.rule || *options.rule == "published" || *options.rule == "complete", UsageError,
            "--rule: expected published or complete, found {}", quote_foreign(options.rule.value_or("")));
  if (!options.slug.empty()) check_slug(options.slug);
  const fs::path place = place_of(options.a, options), other = place_of(options.b, options);
  const StoredGraph a(place, options.from_end), b(other, options.from_end);
  VPD_CHECK(
      a.about().value("weights", Json()) == b.about().value("weights", Json(0)), DataError,
      "{} and {}: expected graphs of the same weights, found graphs of different ones; make them of one "
      "checkpoint",
      (place / "about.json").string(), (other / "about.json").string());
  GraphDiff diff{.name_a = a.name(),
                 .name_b = b.name(),
                 .rule = options.rule.value_or(a.rule()),
                 .from_end = options.from_end,
                 .texts_a = a.texts(),
                 .texts_b = b.texts(),
                 .most = options.most};
  compare_nodes(a, b, diff);
  compare_edges(a, b, diff);
  if (!options.slug.empty()) {
    diff.directory =
        fs::absolute(place).lexically_normal().parent_path().parent_path() / "graph_diffs" / options.slug;
    publish_result(diff.directory, [&](const fs::path& to) {
      write_atomically(to / "diff.json", graph_diff_json(diff));
      write_about(to, about_result(options.command_line, a.about().value("step", std::int64_t{0}),
                                   a.about()["weights"], {}));
    });
  }
  return diff;
}

std::string graph_diff_text(const GraphDiff& diff) {
  const auto prompt = [](const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += text;
    return printable(all);
  };
  std::string text = fmt::format(
      "A            {}: {}\nB            {}: {}\naligned      by the prompts' {}\n\n", printable(diff.name_a),
      prompt(diff.texts_a), printable(diff.name_b), prompt(diff.texts_b), diff.from_end ? "ends" : "starts");
  text += fmt::format("nodes        {} in both, {} in A alone, {} in B alone\n", diff.shared.size(),
                      diff.only_a.size(), diff.only_b.size());
  text += fmt::format(
      "edges        between these, {} rule: {} in both, of {} in A and {} in B; correlation {:.3f}\n",
      diff.rule, diff.shared_edges, diff.edges_a, diff.edges_b, diff.correlation);
  const auto list = [&](const char* title, const std::vector<DiffNode>& nodes) {
    if (nodes.empty()) return;
    text += fmt::format("\n{:<34} {:>9} {:>9}  influence in A and B\n", title, "A", "B");
    for (std::size_t k = 0; k < nodes.size() && static_cast<std::int64_t>(k) < diff.most; ++k) {
      const DiffNode& node = nodes[k];
      const auto influence = [](const std::optional<std::int64_t>& at, double value) {
        return at ? fmt::format("{:.3f}", value) : std::string("-");
      };
      text += fmt::format("{:<34} {:>9} {:>9}  at {}{}\n",
                          fmt::format("{}@{}", node.key, node.at_a ? *node.at_a : *node.at_b),
                          influence(node.at_a, node.influence_a), influence(node.at_b, node.influence_b),
                          printable(node.at_a ? diff.texts_a[static_cast<std::size_t>(*node.at_a)]
                                              : diff.texts_b[static_cast<std::size_t>(*node.at_b)]),
                          node.label.empty() ? "" : "  " + printable(node.label));
    }
  };
  list("in both", diff.shared);
  list("in A alone", diff.only_a);
  list("in B alone", diff.only_b);
  if (!diff.directory.empty()) text += fmt::format("\nresult       {}\n", diff.directory.string());
  return text;
}

std::string graph_diff_json(const GraphDiff& diff) {
  const Json document = {{"a", {{"name", diff.name_a}, {"texts", diff.texts_a}}},
                         {"b", {{"name", diff.name_b}, {"texts", diff.texts_b}}},
                         {"align", diff.from_end ? "end" : "start"},
                         {"rule", diff.rule},
                         {"shared", nodes_json(diff.shared)},
                         {"only_a", nodes_json(diff.only_a)},
                         {"only_b", nodes_json(diff.only_b)},
                         {"edges",
                          {{"a", diff.edges_a},
                           {"b", diff.edges_b},
                           {"shared", diff.shared_edges},
                           {"correlation", diff.correlation}}}};
  return json_text(document, 1) + "\n";
}

}  // namespace vpd
