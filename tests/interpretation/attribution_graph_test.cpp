// Edges of a prompt's graph against numbers of an independent program, and against what must hold.

#include "vpd/interpretation/attribution_graph.hpp"

#include <cmath>
#include <map>

#include "support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd::testing {
namespace {

struct GraphCase : GoldenCase {
  explicit GraphCase(const std::string& name)
      : GoldenCase(name, at::kDouble),
        folder(test_data() / "interpretation" / name),
        graph(folder / "graph.safetensors") {
    decomposition.ci_parameters.load(folder / "causal_importance.safetensors");
    decomposition.ci_parameters.refresh();
    choice = nlohmann::json::parse(read_text(folder / "case.json"));
    prompt = at::tensor(choice.at("prompt").get<std::vector<std::int64_t>>(), at::kLong);
    for (const auto& node : choice.at("nodes")) {
      const bool logit = node[0] == "logit";
      const std::int64_t which = node[1];
      nodes.push_back(
          {logit,
           logit ? which
                 : which + decomposition.sites[*decomposition.sites.find(node[0].get<std::string>())].offset,
           node[2]});
    }
  }
  at::Tensor expected(const std::string& name) const {
    return graph.load("published/" + name).to(at::kDouble);
  }

  std::filesystem::path folder;
  SafetensorsFile graph;
  nlohmann::json choice;
  at::Tensor prompt;
  std::vector<EdgeTarget> nodes;
};

class Graphs : public ::testing::TestWithParam<const char*> {};

TEST_P(Graphs, EdgesAreTheGoldenOnes) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes lanes(2);
  std::size_t visited = 0;
  const at::Tensor balance = golden.expected("balance"), gates = golden.graph.load("g").to(at::kDouble);
  incoming_edges(d, golden.prompt, golden.nodes, lanes, [&](std::size_t i, const IncomingEdges& found) {
    ++visited;
    const auto row = static_cast<std::int64_t>(i);
    // Parts of a contrast cancel: they are judged by the largest of them.
    const double largest = balance[row].abs().max().item<double>();
    const auto expect = [&](const at::Tensor& value, const char* name) {
      const at::Tensor wanted = golden.expected(name)[row];
      EXPECT_LT((value - wanted).abs().max().item<double>(),
                1e-6 * std::max(largest, wanted.abs().max().item<double>()))
          << name << " of node " << i;
    };
    expect(found.edge, "edge");
    expect(found.delta, "delta");
    expect(found.bias, "bias");
    expect(found.embedding, "embedding");
    expect(at::scalar_tensor(found.constant, at::kDouble), "constant");
    EXPECT_NEAR(found.F, balance[row][0].item<double>(), 1e-6 * largest);
    EXPECT_NEAR((found.edge * gates).sum().item<double>(), balance[row][1].item<double>(), 1e-6 * largest);
  });
  EXPECT_EQ(visited, golden.nodes.size());
}

TEST_P(Graphs, ALengthOfItsVectorsChangesNoEdge) {
  GraphCase golden(GetParam());
  Decomposition& d = golden.decomposition;
  Lanes lanes(1);
  const auto edges = [&] {
    std::vector<IncomingEdges> all(golden.nodes.size());
    incoming_edges(d, golden.prompt, golden.nodes, lanes,
                   [&](std::size_t i, const IncomingEdges& found) { all[i] = found; });
    return all;
  };
  const auto before = edges();
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    at::Tensor(d.components.U(i)).mul_(3.0);
    at::Tensor(d.components.V(i)).div_(3.0);
  }
  d.components.refresh();
  const auto after = edges();
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(after[i].F, before[i].F, 1e-10 * std::max(1.0, std::abs(before[i].F)));
    EXPECT_LT((after[i].edge - before[i].edge).abs().max().item<double>(),
              1e-10 * std::max(1.0, before[i].edge.abs().max().item<double>()));
  }
}

TEST_P(Graphs, PruningForDisplayIsTheGoldenOne) {
  const GraphCase golden(GetParam());
  const at::Tensor given = golden.graph.load("display/edges").to(at::kDouble),
                   kind = golden.graph.load("display/kind"), weight = golden.graph.load("display/weight");
  std::vector<GraphNode> nodes;
  std::vector<GraphEdge> edges;
  constexpr GraphNode::Kind kinds[] = {GraphNode::Kind::subcomponent, GraphNode::Kind::delta,
                                       GraphNode::Kind::embedding, GraphNode::Kind::logit};
  for (std::int64_t i = 0; i < kind.numel(); ++i) {
    nodes.push_back({.kind = kinds[kind[i].item<std::int64_t>()], .importance = weight[i].item<double>()});
    for (std::int64_t j = 0; j < kind.numel(); ++j)
      edges.push_back(
          {static_cast<std::int32_t>(j), static_cast<std::int32_t>(i), given[i][j].item<double>()});
  }
  prune_for_display(nodes, edges, 0.8, 0.98);
  const at::Tensor influence = golden.graph.load("display/influence"),
                   kept = golden.graph.load("display/nodes_kept"),
                   edges_kept = golden.graph.load("display/edges_kept");
  for (std::int64_t i = 0; i < kind.numel(); ++i) {
    const GraphNode& node = nodes[static_cast<std::size_t>(i)];
    EXPECT_NEAR(node.influence, influence[i].item<double>(), 1e-6);
    EXPECT_EQ(node.shown, kept[i].item<std::int64_t>() == 1) << i;
    for (std::int64_t j = 0; j < kind.numel(); ++j)
      EXPECT_EQ(edges[static_cast<std::size_t>(i * kind.numel() + j)].shown,
                edges_kept[i][j].item<std::int64_t>() == 1);
  }
}

TEST_P(Graphs, BalancesAddUpAndEdgesLeadForward) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes one(1), two(2);
  const at::Tensor gates = golden.graph.load("g").to(at::kDouble) *
                           golden.graph.load("g").to(at::kDouble).gt(0.3);  // few enough to look at all
  const std::vector<OutputTarget> targets = {{.at = 8, .token = 46}, {.at = 6}};
  const AttributionGraph graph = attribute_graph(d, golden.prompt, targets, gates, gates,
                                                 {.most_edges = 1'000'000}, one),
                         again = attribute_graph(d, golden.prompt, targets, gates, gates,
                                                 {.most_edges = 1'000'000}, two);
  // The same but for rounding, which leaves some edges at exactly 0 and others a little beside it.
  const auto strong = [](const AttributionGraph& given) {
    std::map<std::pair<int, int>, double> edges;
    for (const GraphEdge& edge : given.edges)
      if (std::abs(edge.weight) > 1e-9) edges[{edge.source, edge.target}] = edge.weight;
    return edges;
  };
  const auto first = strong(graph), second = strong(again);
  ASSERT_GT(first.size(), 100u);
  ASSERT_EQ(first.size(), second.size());
  for (const auto& [ends, weight] : first)
    EXPECT_NEAR(second.at(ends), weight, 1e-8 * std::max(1.0, std::abs(weight)));
  std::vector<double> kept(graph.nodes.size());
  for (const GraphEdge& edge : graph.edges) {
    const GraphNode &source = graph.nodes[static_cast<std::size_t>(edge.source)],
                    &target = graph.nodes[static_cast<std::size_t>(edge.target)];
    EXPECT_LE(source.at, target.at);  // attention looks back
    EXPECT_TRUE(target.kind == GraphNode::Kind::subcomponent || target.kind == GraphNode::Kind::logit);
    if (source.kind == GraphNode::Kind::subcomponent)
      kept[static_cast<std::size_t>(edge.target)] += edge.weight;
  }
  std::size_t subcomponents = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    if (node.kind != GraphNode::Kind::subcomponent && node.kind != GraphNode::Kind::logit) continue;
    double sum = 0.0, largest = std::abs(node.F);
    for (const double part : node.balance) {
      sum += part;
      largest = std::max(largest, std::abs(part));
    }
    EXPECT_NEAR(sum, node.F, 1e-10 * largest);
    EXPECT_NEAR(kept[i], node.balance[0], 1e-10 * largest);
    subcomponents += node.kind == GraphNode::Kind::subcomponent;
  }
  EXPECT_EQ(static_cast<std::int64_t>(subcomponents), gates.gt(0.0).sum().item<std::int64_t>());
}
INSTANTIATE_TEST_SUITE_P(Cases, Graphs, ::testing::Values("plain", "grouped"));

}  // namespace
}  // namespace vpd::testing
