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
  at::Tensor expected(EdgeRule rule, const std::string& name) const {
    return graph.load(name_of(rule) + "/" + name).to(at::kDouble);
  }

  std::filesystem::path folder;
  SafetensorsFile graph;
  nlohmann::json choice;
  at::Tensor prompt;
  std::vector<EdgeTarget> nodes;
};

class Graphs : public ::testing::TestWithParam<const char*> {};

constexpr EdgeRule rules[] = {EdgeRule::published, EdgeRule::complete};

TEST_P(Graphs, EdgesAreTheGoldenOnes) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes lanes(2);
  for (const EdgeRule rule : rules) {
    std::size_t visited = 0;
    const at::Tensor balance = golden.expected(rule, "balance"),
                     gates = golden.graph.load("g").to(at::kDouble);
    const auto visit = [&](std::size_t i, const IncomingEdges& found) {
      ++visited;
      const auto row = static_cast<std::int64_t>(i);
      // Parts of a contrast cancel: they are judged by the largest of them.
      const double largest = balance[row].abs().max().item<double>();
      const auto expect = [&](const at::Tensor& value, const char* name) {
        const at::Tensor wanted = golden.expected(rule, name)[row];
        EXPECT_LT((value - wanted).abs().max().item<double>(),
                  1e-6 * std::max(largest, wanted.abs().max().item<double>()))
            << name << " of node " << i << ", " << name_of(rule);
      };
      expect(found.edge, "edge");
      expect(found.delta, "delta");
      expect(found.bias, "bias");
      expect(found.input, "embedding");
      expect(at::scalar_tensor(found.constant, at::kDouble), "constant");
      EXPECT_NEAR(found.F, balance[row][0].item<double>(), 1e-6 * largest);
      EXPECT_NEAR((found.edge * gates).sum().item<double>(), balance[row][1].item<double>(), 1e-6 * largest);
    };
    incoming_edges(d, golden.prompt, golden.nodes, rule, lanes, visit);
    EXPECT_EQ(visited, golden.nodes.size());
  }
}

TEST_P(Graphs, DirectEffectsAreTheGoldenOnes) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  const at::Tensor source = golden.graph.load("direct_source"),
                   effect = golden.graph.load("direct_effect").to(at::kDouble);
  std::vector<EdgeToCheck> asked;
  for (std::int64_t r = 0; r < source.size(0); ++r)
    for (std::int64_t k = 0; k < source.size(1); ++k) {
      const auto entry = source[r][k].item<std::int64_t>();
      asked.push_back(
          {golden.nodes[static_cast<std::size_t>(r)], entry % d.sites.total_C(), entry / d.sites.total_C()});
    }
  Lanes lanes(2);
  const std::vector<double> found = direct_effects(d, golden.prompt, asked, lanes);
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto r = static_cast<std::int64_t>(i) / source.size(1),
               k = static_cast<std::int64_t>(i) % source.size(1);
    EXPECT_NEAR(found[i], effect[r][k].item<double>(), 1e-6 * effect[r].abs().max().item<double>()) << i;
  }
}

TEST_P(Graphs, EdgesAreDerivativesAlongTheirSources) {
  GraphCase golden(GetParam());
  Decomposition& d = golden.decomposition;
  Lanes lanes(2);
  std::vector<IncomingEdges> edges(golden.nodes.size());
  incoming_edges(d, golden.prompt, golden.nodes, EdgeRule::published, lanes,
                 [&](std::size_t i, const IncomingEdges& found) { edges[i] = found; });
  std::vector<EdgeToCheck> asked;
  for (const EdgeTarget& target : golden.nodes)
    for (std::int64_t t = 5; t < golden.prompt.size(0); ++t)
      for (std::int64_t column = 0; column < d.sites.total_C(); column += 7)
        asked.push_back({target, column, t});
  // What a source of step · U takes away, on either side: a subcomponent's F has its own U's length in it.
  const double step = 1e-4;
  const auto scaled = [&](double factor) {
    for (std::size_t i = 0; i < d.sites.size(); ++i) at::Tensor(d.components.U(i)).mul_(factor);
    d.components.refresh();
  };
  scaled(step);
  const std::vector<double> down = direct_effects(d, golden.prompt, asked, lanes);
  scaled(-1.0);
  const std::vector<double> up = direct_effects(d, golden.prompt, asked, lanes);
  std::size_t seen = 0;
  for (std::size_t k = 0; k < asked.size(); ++k) {
    const std::size_t node = k / (asked.size() / golden.nodes.size());
    const double length = asked[k].target.logit ? 1.0 : step;
    const double slope = (down[k] - up[k]) / (2.0 * step * length);
    const double edge = edges[node].edge[asked[k].at][asked[k].column].item<double>();
    EXPECT_NEAR(edge, slope, 1e-6 * std::max(1.0, edges[node].edge.abs().max().item<double>())) << k;
    seen += edge != 0.0;
  }
  EXPECT_GT(seen, 50u);
}

TEST_P(Graphs, AGaugeChangesNothingButSigns) {
  const auto edges = [](GraphCase& golden, EdgeRule rule) {
    Lanes lanes(1);
    std::vector<IncomingEdges> all(golden.nodes.size());
    incoming_edges(golden.decomposition, golden.prompt, golden.nodes, rule, lanes,
                   [&](std::size_t i, const IncomingEdges& found) { all[i] = found; });
    return all;
  };
  for (const EdgeRule rule : rules)
    for (const double factor : {3.0, -0.5}) {
      GraphCase golden(GetParam());
      Decomposition& d = golden.decomposition;
      const auto before = edges(golden, rule);
      for (std::size_t i = 0; i < d.sites.size(); ++i) {
        at::Tensor(d.components.U(i)).mul_(factor);
        at::Tensor(d.components.V(i)).div_(factor);
      }
      d.components.refresh();
      const auto after = edges(golden, rule);
      double strongest = 0.0;
      for (std::size_t i = 0; i < before.size(); ++i) {
        const double sign = factor < 0.0 && !golden.nodes[i].logit ? -1.0 : 1.0;
        EXPECT_NEAR(after[i].F, sign * before[i].F, 1e-10 * std::max(1.0, std::abs(before[i].F)));
        EXPECT_LT((after[i].edge - sign * before[i].edge).abs().max().item<double>(),
                  1e-10 * std::max(1.0, before[i].edge.abs().max().item<double>()));
        strongest = std::max(strongest, before[i].edge.abs().max().item<double>());
      }
      EXPECT_GT(strongest, 1e-3);
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

// Two inputs, one subcomponent with a Δ, and one logit, by hand.
TEST(GraphScores, AreThePartsOfPathsAndOfWhatLeadsIntoNodes) {
  using Kind = GraphNode::Kind;
  std::vector<GraphNode> nodes = {{.kind = Kind::embedding},
                                  {.kind = Kind::delta},
                                  {.kind = Kind::subcomponent},
                                  {.kind = Kind::logit, .importance = 0.5}};
  nodes[2].balance = {0, -1, 0, 0, 0, 0, 0};  // pruned: 1 of 4
  nodes[3].balance = {0, 0, 0, 0, 0, 0, 2};   // rest: 2 of 10
  const std::vector<GraphEdge> edges = {{0, 2, 2.0}, {1, 2, -1.0}, {2, 3, 6.0}, {0, 3, -2.0}};
  // Behind the logit: 0.6 from the subcomponent, 0.2 from the input, 0.2 rest; the former is half input.
  const GraphScores scores = graph_scores(nodes, edges);
  EXPECT_NEAR(scores.replacement, 0.6 * 0.5 + 0.2, 1e-12);
  // Weights: the logit 0.5, the subcomponent 0.5 * 0.6; of them 0.8 and 0.5 are nodes.
  EXPECT_NEAR(scores.completeness, (0.5 * 0.8 + 0.3 * 0.5) / 0.8, 1e-12);
}

TEST_P(Graphs, BalancesAddUpAndEdgesLeadForward) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes one(1), two(2);
  const at::Tensor gates = golden.graph.load("g").to(at::kDouble) *
                           golden.graph.load("g").to(at::kDouble).gt(0.3);  // few enough to look at all
  const std::vector<OutputTarget> targets = {{.at = 8, .token = 46}, {.at = 6}};
  for (const EdgeRule rule : rules) {
    const AttributionGraph graph = attribute_graph(d, golden.prompt, targets, gates, gates,
                                                   {.rule = rule, .most_edges = 1'000'000}, one),
                           again = attribute_graph(d, golden.prompt, targets, gates, gates,
                                                   {.rule = rule, .most_edges = 1'000'000}, two);
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
      if (rule == EdgeRule::complete) {
        EXPECT_NEAR(node.balance.back(), 0.0, 1e-10 * largest);
      }
      subcomponents += node.kind == GraphNode::Kind::subcomponent;
    }
    EXPECT_EQ(static_cast<std::int64_t>(subcomponents), gates.gt(0.0).sum().item<std::int64_t>());
  }
}

TEST_P(Graphs, ChecksTheLargestSharesAndFindsTheWorst) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes lanes(2);
  const at::Tensor gates = golden.graph.load("g").to(at::kDouble);
  const AttributionGraph graph =
      attribute_graph(d, golden.prompt, {{.at = 8, .token = 46}}, gates, gates, {}, lanes);
  const EdgeCheck check = check_edges(d, golden.prompt, graph, 40, lanes);
  ASSERT_EQ(check.edges.size(), 40u);
  EXPECT_GT(check.correlation, 0.9);
  EXPECT_LE(check.correlation, 1.0);
  const auto off = [&](const CheckedEdge& edge) { return std::abs(edge.ratio() - 1.0); };
  for (const CheckedEdge& edge : check.edges) EXPECT_LE(off(edge), off(check.edges[check.worst]));
  EXPECT_GT(off(check.edges[check.worst]), 0.0);
}

TEST_P(Graphs, WhatIsSaidAndReadNextIsHandedOn) {
  const GraphCase golden(GetParam());
  const Decomposition& d = golden.decomposition;
  Lanes lanes(1);
  const at::Tensor gates = golden.graph.load("g").to(at::kDouble);
  const auto next = [&](std::int64_t t) { return golden.prompt[t].item<std::int64_t>(); };
  const std::vector<OutputTarget> targets = {
      {.at = 6, .token = next(7)}, {.at = 7, .token = (next(8) + 1) % 61}, {.at = 8, .token = 46}};
  const AttributionGraph graph = attribute_graph(d, golden.prompt, targets, gates, gates, {}, lanes);
  std::size_t found = 0;
  const at::Tensor p = clean_pass(d, golden.prompt.unsqueeze(0)).output.log_softmax(1);
  for (const Handoff& handoff : graph.handoffs) {
    const GraphNode &said = graph.nodes[static_cast<std::size_t>(handoff.source)],
                    &read = graph.nodes[static_cast<std::size_t>(handoff.target)];
    EXPECT_EQ(said.kind, GraphNode::Kind::logit);
    EXPECT_EQ(read.kind, GraphNode::Kind::embedding);
    EXPECT_EQ(read.at, said.at + 1);
    EXPECT_EQ(read.which, said.which);
    EXPECT_NEAR(handoff.log_p, p[said.at][said.which].item<double>(), 1e-9);
    found += said.at == 6;
  }
  EXPECT_EQ(found, 1u);
}
INSTANTIATE_TEST_SUITE_P(Cases, Graphs, ::testing::Values("plain", "grouped"));

}  // namespace
}  // namespace vpd::testing
