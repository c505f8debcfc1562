// Graphs of toys whose mechanisms are known: hand-built models with the decomposition that they were built
// of.

#include <cmath>
#include <set>

#include "support.hpp"
#include "support/device_case.hpp"
#include "support/places.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/attribution_graph.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/residual_mlp.hpp"

namespace vpd::testing {
namespace {

/// Sites with C subcomponents each, whose importances follow what they read (where_it_reads()).
Decomposition decomposition_of(std::unique_ptr<Target> target, const std::vector<std::string>& sites,
                               std::int64_t C) {
  std::string patterns;
  for (const std::string& site : sites)
    patterns += fmt::format("{}{{pattern: {}, C: {}}}", patterns.empty() ? "" : ", ", site, C);
  const RunConfig config =
      load_run_config(test_data() / "plain" / "config.yaml",
                      {fmt::format("sites=[{}]", patterns), where_it_reads(), "initialize_from=null"});
  return make_decomposition(config, {at::kCPU, at::kDouble, at::kDouble}, "test", std::move(target));
}

void set_site(Decomposition& d, const std::string& name, const at::Tensor& V, const at::Tensor& U) {
  const std::size_t i = *d.sites.find(name);
  at::Tensor(d.components.V(i)).copy_(V);
  at::Tensor(d.components.U(i)).copy_(U);
}

/// A head of block 0 says at each position which token stood before it (it looks at the nearest token that is
/// not its own), and one of block 1 looks for positions behind its own token, and says what stands there. The
/// stream has a token in its first entries and what stood before in the next.
struct InductionToy {
  static constexpr std::int64_t tokens = 8, width = 64, m = 4;
  // Positions are added to queries and keys: in these entries they hardly differ.
  static constexpr std::int64_t quiet = 48;

  InductionToy() {
    const InductionConfig config{
        .vocab_size = tokens, .block_size = 8, .d_model = width, .n_heads = 1, .n_layers = 2};
    const auto entry = [](std::int64_t k) { return k; };
    const auto before = [](std::int64_t k) { return tokens + k; };
    const auto matched = [](std::int64_t k) { return quiet + 2 * k; };
    // Each matrix moves token k from one entry to another, with a factor.
    struct Move {
      std::string name;
      std::int64_t (*from)(std::int64_t), (*to)(std::int64_t);
      double factor, gauge;  // V_c reads with that length, so that what a head mixes is important, too
    };
    const std::vector<Move> moves = {{"blocks.0.attn.q_proj", entry, matched, -12.0, 1.0},
                                     {"blocks.0.attn.k_proj", entry, matched, 12.0, 1.0},
                                     {"blocks.0.attn.v_proj", entry, entry, 1.0, 1.0},
                                     {"blocks.0.attn.out_proj", entry, before, 1.0, 2.0},
                                     {"blocks.1.attn.q_proj", entry, matched, 20.0, 1.0},
                                     {"blocks.1.attn.k_proj", before, matched, 20.0, 2.0},
                                     {"blocks.1.attn.v_proj", entry, entry, 1.0, 1.0},
                                     {"blocks.1.attn.out_proj", entry, entry, 2.0, 1.0}};
    const at::Tensor eye = at::eye(width, at::kFloat);
    NamedTensors weights = {{"token_embed.weight", eye.narrow(0, 0, tokens).clone()}};
    std::vector<std::string> sites;
    for (const Move& move : moves) {
      const at::Tensor W = at::zeros({width, width}, at::kFloat);
      for (std::int64_t k = 0; k < tokens; ++k) W[move.to(k)][move.from(k)] = move.factor;
      weights.emplace_back(move.name + ".weight", W);
      sites.push_back(move.name);
    }
    weights.emplace_back("unembed.weight", 12.0 * eye.narrow(0, 0, tokens));
    const Numerics numerics{at::kCPU, at::kDouble, at::kDouble};
    d = decomposition_of(std::make_unique<InductionTransformer>(config, weights, numerics), sites, tokens);
    for (const Move& move : moves) {
      const at::Tensor V = at::zeros({width, tokens}, at::kDouble),
                       U = at::zeros({tokens, width}, at::kDouble);
      for (std::int64_t k = 0; k < tokens; ++k) {
        V[move.from(k)][k] = move.gauge;
        U[k][move.to(k)] = move.factor / move.gauge;
      }
      set_site(d, move.name, V, U);
    }
    d.components.refresh();
  }

  std::int64_t column(const std::string& site, std::int64_t token) const {
    return d.sites[*d.sites.find(site)].offset + token;
  }
  static at::Tensor prompt() { return at::tensor({0, 3, 5, 7, 2, 4, 1, 7}, at::kLong); }

  Decomposition d;
};

std::size_t node_of(const AttributionGraph& graph, GraphNode::Kind kind, std::int64_t which,
                    std::int64_t at) {
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    if (node.kind == kind && node.which == which && node.at == at) return i;
  }
  ADD_FAILURE() << "no node " << which << " at " << at;
  return 0;
}

/// The source of the largest edge into a node, of sources of that site, or of all.
const GraphNode& largest_source(const AttributionGraph& graph, std::size_t target,
                                const Site* site = nullptr) {
  const GraphEdge* best = nullptr;
  for (const GraphEdge& edge : graph.edges) {
    const GraphNode& source = graph.nodes[static_cast<std::size_t>(edge.source)];
    const bool counts = !site || (source.kind == GraphNode::Kind::subcomponent &&
                                  source.which >= site->offset && source.which < site->offset + site->C);
    if (static_cast<std::size_t>(edge.target) == target && counts &&
        (!best || std::abs(edge.weight) > std::abs(best->weight)))
      best = &edge;
  }
  EXPECT_NE(best, nullptr);
  return graph.nodes[best ? static_cast<std::size_t>(best->source) : 0];
}

TEST(ToyGraphs, InductionIsReadOffTheGraph) {
  const InductionToy toy;
  const Decomposition& d = toy.d;
  const at::Tensor prompt = InductionToy::prompt();
  const std::int64_t end = prompt.size(0) - 1, m = InductionToy::m, S = prompt[end].item<std::int64_t>(),
                     answer = prompt[m].item<std::int64_t>();
  const std::vector<OutputTarget> targets = {{.at = end, .token = answer}};
  const PromptImportance pruned = optimise_importance(d, prompt, targets, {.steps = 150, .rate = 0.05});
  const PruneVerdict verdict = judge_importance(d, prompt, targets, pruned, PruneMasks::adversarial);
  EXPECT_GT(verdict.target.p, 0.9);
  EXPECT_LT(pruned.kept, pruned.alive);
  EXPECT_TRUE(verdict.faithful) << verdict.reason;
  Lanes lanes(1);
  for (const EdgeRule rule : {EdgeRule::published, EdgeRule::complete}) {
    const AttributionGraph graph =
        attribute_graph(d, prompt, targets, pruned.after, pruned.before, {.rule = rule}, lanes);
    // What induction_match looks for is there: the query at the end, and the key of what stands behind S.
    node_of(graph, GraphNode::Kind::subcomponent, toy.column("blocks.1.attn.q_proj", S), end);
    const std::size_t key =
        node_of(graph, GraphNode::Kind::subcomponent, toy.column("blocks.1.attn.k_proj", S), m);
    const GraphNode& told = largest_source(graph, key);
    EXPECT_EQ(key_of_column(told.which, d.sites), fmt::format("blocks.0.attn.out_proj:{}", S));
    EXPECT_EQ(told.at, m);
    const std::size_t out = node_of(graph, GraphNode::Kind::subcomponent, told.which, told.at);
    const Site& values = d.sites[*d.sites.find("blocks.0.attn.v_proj")];
    const GraphNode& value = largest_source(graph, out, &values);
    EXPECT_EQ(value.at, m - 1);
    EXPECT_EQ(key_of_column(value.which, d.sites), fmt::format("blocks.0.attn.v_proj:{}", S));
    // And the answer comes from the value at m.
    const std::size_t said = node_of(graph, GraphNode::Kind::logit, answer, end);
    const GraphNode& written = largest_source(graph, said);
    EXPECT_EQ(key_of_column(written.which, d.sites), fmt::format("blocks.1.attn.out_proj:{}", answer));
    const GraphNode& read =
        largest_source(graph, node_of(graph, GraphNode::Kind::subcomponent, written.which, written.at),
                       &d.sites[*d.sites.find("blocks.1.attn.v_proj")]);
    EXPECT_EQ(read.at, m);
    // A pattern that is held has no sources among queries and keys.
    for (const GraphEdge& edge : graph.edges) {
      const GraphNode& source = graph.nodes[static_cast<std::size_t>(edge.source)];
      if (rule != EdgeRule::complete || source.kind != GraphNode::Kind::subcomponent) continue;
      const std::string name = key_of_column(source.which, d.sites);
      EXPECT_TRUE(name.find("q_proj") == std::string::npos && name.find("k_proj") == std::string::npos)
          << name;
    }
  }
}

/// ReLU(x) + x of n features: each has a neuron of its own in every block.
Decomposition residual_toy(std::int64_t n, std::int64_t layers, const std::vector<std::string>& parts) {
  const ResidualMlpConfig config{.n_features = n, .d_embed = n, .d_mlp = n, .n_layers = layers};
  const at::Tensor eye = at::eye(n, at::kFloat);
  NamedTensors weights = {{"W_E", eye}};
  std::vector<std::string> sites;
  for (std::int64_t i = 0; i < layers; ++i)
    for (const char* name : {"mlp_in", "mlp_out"}) {
      const std::string site = fmt::format("layers.{}.{}", i, name);
      weights.emplace_back(site + ".weight", eye);
      if (std::find(parts.begin(), parts.end(), name) != parts.end()) sites.push_back(site);
    }
  const Numerics numerics{at::kCPU, at::kDouble, at::kDouble};
  Decomposition d = decomposition_of(std::make_unique<ResidualMlp>(config, weights, numerics), sites, n);
  for (const std::string& site : sites) set_site(d, site, eye, eye);
  d.components.refresh();
  return d;
}

TEST(ToyGraphs, FeaturesOfAResidualMlpAreSinglePaths) {
  const Decomposition d = residual_toy(6, 2, {"mlp_in", "mlp_out"});
  const at::Tensor features = at::tensor({0.0, 0.75, 0.0, 0.0, 0.625, 0.0}, at::kFloat);
  const std::vector<OutputTarget> all = {OutputTarget{}};
  const PromptImportance pruned =
      optimise_importance(d, features, all, {.steps = 300, .rate = 0.02, .coefficient = 1e-4});
  EXPECT_EQ(pruned.kept, 8);  // two features in four matrices
  Lanes lanes(1);
  for (const EdgeRule rule : {EdgeRule::published, EdgeRule::complete}) {
    const AttributionGraph graph =
        attribute_graph(d, features, all, pruned.after, pruned.before, {.rule = rule}, lanes);
    EXPECT_TRUE(graph.features);
    EXPECT_TRUE(graph.tokens.empty());
    const auto feature = [&](const GraphNode& node) {
      return node.kind == GraphNode::Kind::subcomponent ? subcomponent_at(node.which, d.sites).c : node.which;
    };
    std::set<std::int64_t> seen;
    std::size_t strong = 0;
    for (const GraphEdge& edge : graph.edges) {
      const GraphNode &source = graph.nodes[static_cast<std::size_t>(edge.source)],
                      &target = graph.nodes[static_cast<std::size_t>(edge.target)];
      if (source.kind == GraphNode::Kind::delta || std::abs(edge.weight) < 1e-12) continue;
      EXPECT_EQ(feature(source), feature(target));
      seen.insert(feature(target));
      ++strong;
    }
    EXPECT_EQ(seen, (std::set<std::int64_t>{1, 4}));
    // Of each: feature -> in, in' (through the stream), output; in -> out; out -> in', output; and so on.
    EXPECT_EQ(strong, 2u * 8u);
    for (const GraphNode& node : graph.nodes) {
      if (node.kind != GraphNode::Kind::subcomponent && node.kind != GraphNode::Kind::logit) continue;
      double sum = 0.0;
      for (std::size_t k = 0; k + 1 < node.balance.size(); ++k) sum += node.balance[k];
      EXPECT_NEAR(sum, node.F, 1e-12 * std::max(1.0, std::abs(node.F)));
    }
  }
}

TEST(ToyGraphs, TwoOfTwentyAreKeptAndJudged) {
  const std::int64_t n = 20;
  const Decomposition d = residual_toy(n, 1, {"mlp_in"});
  const at::Tensor features = at::full({n}, 0.75, at::kFloat);
  const std::vector<OutputTarget> targets = {{.token = 3}, {.token = 11}};
  const PromptImportance pruned =
      optimise_importance(d, features, targets, {.steps = 200, .rate = 0.02, .coefficient = 1e-4});
  EXPECT_EQ(pruned.alive, n);
  EXPECT_EQ(pruned.columns(), (std::vector<std::int64_t>{3, 11}));
  const VerdictSettings settings{.tolerance = 1e-3, .samples = 4, .starts = 2};
  const auto judged = [&](const PromptImportance& importance, PruneMasks masks) {
    return judge_importance(d, features, targets, importance, masks, settings);
  };
  const PruneVerdict verdict = judged(pruned, PruneMasks::adversarial);
  EXPECT_TRUE(verdict.faithful) << verdict.reason;
  EXPECT_TRUE(std::isnan(verdict.target.p));  // features have no probability
  EXPECT_EQ(verdict.target.D, 0.0);
  EXPECT_GT(verdict.zeroed.D, settings.tolerance);
  EXPECT_FALSE(judged(pruned, PruneMasks::importance).faithful);
  PromptImportance less = pruned;
  less.after = pruned.after.clone();
  less.after.select(1, 11).zero_();
  const PruneVerdict without = judged(less, PruneMasks::adversarial);
  EXPECT_FALSE(without.faithful);
  EXPECT_NE(without.reason.find("an adversary raises the loss"), std::string::npos) << without.reason;
}

TEST(ToyGraphs, ASourceBehindAnotherSiteHasNoEdge) {
  // Two sites in series and no way around the second: what the first gives is cut there.
  const std::int64_t n = 4;
  const Decomposition d = residual_toy(n, 1, {"mlp_in", "mlp_out"});
  const at::Tensor features = at::tensor({0.5, 0.0, 1.0, 0.0}, at::kFloat);
  const Site &in = d.sites[*d.sites.find("layers.0.mlp_in")],
             &out = d.sites[*d.sites.find("layers.0.mlp_out")];
  Lanes lanes(1);
  incoming_edges(d, features, {{.logit = true, .which = 2}}, EdgeRule::published, lanes,
                 [&](std::size_t, const IncomingEdges& edges) {
                   EXPECT_EQ(in.columns(edges.edge).abs().sum().item<double>(), 0.0);
                   EXPECT_NEAR(edges.edge[0][out.offset + 2].item<double>(), 1.0, 1e-12);
                   EXPECT_NEAR(edges.input[2].item<double>(), 1.0, 1e-12);
                   EXPECT_NEAR(edges.F, 2.0, 1e-12);
                 });
}

TEST(ToyGraphs, APromptOfOneToken) {
  const InductionToy toy;
  const at::Tensor prompt = at::tensor({5}, at::kLong);
  const std::vector<OutputTarget> targets = {{.at = 0, .token = 5}};
  const PromptImportance pruned = optimise_importance(toy.d, prompt, targets, {.steps = 20});
  Lanes lanes(1);
  const AttributionGraph graph = attribute_graph(toy.d, prompt, targets, pruned.after, pruned.before,
                                                 {.rule = EdgeRule::complete}, lanes);
  EXPECT_TRUE(graph.handoffs.empty());
  const GraphNode& said = graph.nodes[node_of(graph, GraphNode::Kind::logit, 5, 0)];
  double sum = 0.0;
  for (const double part : said.balance) sum += part;
  EXPECT_NEAR(sum, said.F, 1e-10 * std::abs(said.F));
  EXPECT_NEAR(said.balance.back(), 0.0, 1e-10 * std::abs(said.F));
}

}  // namespace
}  // namespace vpd::testing
