// An embedding as a site: rows of V and of the table by token id, against the same site with one-hot inputs
// and the Δ matrix written out, in double precision.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "io/support.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/places.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/target/huggingface.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd::testing {
namespace {

const Tolerance tight{1e-12, 1e-12};

struct Shape {
  std::int64_t N, vocabulary, C, d;
};

/// An embedding with random rows, tokens of which some come twice, and sources of which every element is
/// known.
struct Problem {
  Problem(const Shape& s, bool with_routing, bool with_delta) : shape(s), delta(with_delta) {
    tokens = uniform_values({s.N}, 1, 0.0, static_cast<double>(s.vocabulary)).to(at::kLong);
    V = uniform_values({s.vocabulary, s.C}, 2);
    U = uniform_values({s.C, s.d}, 3);
    table = uniform_values({s.vocabulary, s.d}, 4);
    g = uniform_values({s.N, s.C}, 6, 0.0, 1.0);
    sources = uniform_values({s.N, s.C + 1}, 7, 0.0, 1.0);
    if (with_routing) routing = uniform_values({s.N}, 8).gt(0.0).to(at::kByte);
    dy = uniform_values({s.N, s.d}, 9);
  }

  Matrix matrix() const {
    return {.name = "wte",
            .in_block = false,
            .embedding = true,
            .weight = {table.t(), {}},
            .bias = {},
            .master = table.t()};
  }
  static DrawnSources drawn(SourceDistribution distribution) {
    return {distribution, make_key(5, RandomPurpose::mask_sources), 2, 11};
  }
  /// All of it, one row for each position. dL/dr goes to `gradient`, unless that is undefined.
  ReadSources read(const at::Tensor& gradient = {}) const {
    ReadSources all{.values = sources, .time_length = shape.N, .time_rows = shape.N};
    if (gradient.defined()) all.destination = SourceGradient{gradient};
    return all;
  }
  MixedSources mixed(const at::Tensor& gradient) const {
    return {read(gradient), drawn(SourceDistribution::uniform),
            uniform_values({shape.N}, 10).gt(0.0).to(at::kByte)};
  }
  SitePass pass(const decltype(GateSources::from)& from, bool gradients) const {
    const auto like = [&](const at::Tensor& x) { return gradients ? at::zeros_like(x) : at::Tensor(); };
    SitePass p{.V = {V, like(V)},
               .U = {U, like(U)},
               .importance = g,
               .importance_gradient = like(g),
               .routing = routing};
    p.sources = {from, delta ? std::nullopt : std::optional(0.0)};
    return p;
  }
  at::Tensor one_hot() const { return at::one_hot(tokens, shape.vocabulary).to(at::kDouble); }
  /// The same in another precision.
  Problem in(at::ScalarType type) const {
    Problem other = *this;
    for (at::Tensor* x : {&other.V, &other.U, &other.table, &other.g, &other.sources, &other.dy})
      *x = x->to(type);
    return other;
  }

  /// ((x V) ⊙ m) U + δ · x (W - (V U)ᵀ)ᵀ with one-hot x, and x Wᵀ where routing is off.
  at::Tensor plain(const at::Tensor& v, const at::Tensor& u, const at::Tensor& importance,
                   const at::Tensor& all_sources) const {
    const at::Tensor x = one_hot(), r = all_sources.narrow(1, 0, shape.C),
                     m = importance + (1 - importance) * r;
    at::Tensor y = at::matmul(at::matmul(x, v) * m, u);
    if (delta) y = y + all_sources.narrow(1, shape.C, 1) * at::matmul(x, table - at::matmul(v, u));
    return routing.defined() ? at::where(routing.to(at::kBool).unsqueeze(1), y, at::matmul(x, table)) : y;
  }

  Shape shape;
  bool delta;
  at::Tensor tokens, V, U, table, g, sources, routing, dy;
};

class EmbeddingSite : public ::testing::TestWithParam<std::tuple<bool, bool>> {};

TEST_P(EmbeddingSite, EqualsTheFormWithOneHotVectorsAndSoDoItsGradients) {
  const auto [with_routing, with_delta] = GetParam();
  const auto test = [&](const Shape& shape, at::ScalarType type) {
    const Problem p = Problem(shape, with_routing, with_delta).in(type), exact = p.in(at::kDouble);
    std::vector<at::Tensor> leaves;
    for (const at::Tensor& x : {exact.V, exact.U, exact.g, exact.sources})
      leaves.push_back(x.clone().requires_grad_(true));
    const at::Tensor expected = exact.plain(leaves[0], leaves[1], leaves[2], leaves[3]);
    torch::autograd::backward({expected}, {exact.dy});
    // Sums of at most 40 products of numbers below 4.
    const Tolerance close{0.0, 400 * epsilon(type)};
    const auto expect_same = [&](const at::Tensor& a, const at::Tensor& b, const char* what) {
      expect_close(a.to(at::kDouble), b, close, what);
    };

    const at::Tensor source_gradient = at::zeros_like(p.sources);
    const SitePass pass = p.pass(p.read(source_gradient), /*gradients=*/true);
    const at::Tensor y = apply_masked_embedding(p.tokens, p.matrix(), pass);
    torch::autograd::backward({y}, {p.dy});
    expect_same(y.detach(), expected.detach(), "y");
    expect_same(pass.V.gradient, leaves[0].grad(), "dV");
    expect_same(pass.U.gradient, leaves[1].grad(), "dU");
    expect_same(pass.importance_gradient, leaves[2].grad(), "dg");
    expect_same(source_gradient, leaves[3].grad(), "dr and dδ");
  };
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{7, 5, 3, 11}, Shape{40, 13, 17, 4}})
      test(shape, type);
  }
}

TEST_P(EmbeddingSite, GradientsAreTheSlopes) {
  const auto [with_routing, with_delta] = GetParam();
  const Problem p({6, 4, 3, 5}, with_routing, with_delta);
  const at::Tensor source_gradient = at::zeros_like(p.sources);
  const SitePass pass = p.pass(p.read(source_gradient), /*gradients=*/true);
  torch::autograd::backward({apply_masked_embedding(p.tokens, p.matrix(), pass)}, {p.dy});
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        ReadSources sources = p.read();
        sources.values = in[3];
        SitePass moved = p.pass(sources, /*gradients=*/false);
        moved.V.value = in[0], moved.U.value = in[1], moved.importance = in[2];
        return (apply_masked_embedding(p.tokens, p.matrix(), moved) * p.dy).sum();
      },
      {p.V, p.U, p.g, p.sources},
      {pass.V.gradient, pass.U.gradient, pass.importance_gradient, source_gradient}, "V, U, g, r");
}

TEST_P(EmbeddingSite, EveryKindOfSourcesIsThatOfALinearSite) {
  const auto [with_routing, with_delta] = GetParam();
  const Problem p({40, 13, 17, 4}, with_routing, with_delta);
  const at::Tensor gradient = at::zeros_like(p.sources), other_gradient = at::zeros_like(p.sources);
  using From = decltype(GateSources::from);
  const std::vector<std::pair<From, From>> kinds = {
      {ConstantSources{0.3, 0.8}, ConstantSources{0.3, 0.8}},
      {p.drawn(SourceDistribution::uniform), p.drawn(SourceDistribution::uniform)},
      {p.drawn(SourceDistribution::binomial), p.drawn(SourceDistribution::binomial)},
      {p.read(gradient), p.read(other_gradient)},
      {p.mixed(gradient), p.mixed(other_gradient)}};
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    Matrix matrix = p.matrix();
    const SitePass pass = p.pass(kinds[kind].first, true), other = p.pass(kinds[kind].second, true);
    const at::Tensor y = apply_masked_embedding(p.tokens, matrix, pass);
    const at::Tensor x = p.one_hot().requires_grad_(true), expected = apply_masked(x, matrix, other);
    torch::autograd::backward({y}, {p.dy});
    torch::autograd::backward({expected}, {p.dy});
    const std::string what = "source kind " + std::to_string(kind);
    expect_close(y.detach(), expected.detach(), tight, what);
    expect_close(pass.V.gradient, other.V.gradient, tight, what + ", dV");
    expect_close(pass.U.gradient, other.U.gradient, tight, what + ", dU");
    expect_close(pass.importance_gradient, other.importance_gradient, tight, what + ", dg");
    expect_close(gradient, other_gradient, tight, what + ", dr");
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, EmbeddingSite, ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST(EmbeddingSite, NothingIsRecordedWhereNobodyWantsAGradient) {
  const Problem p({4, 3, 2, 5}, false, true);
  EXPECT_FALSE(
      apply_masked_embedding(p.tokens, p.matrix(), p.pass(p.drawn(SourceDistribution::uniform), false))
          .requires_grad());
}

// Whole models with the embedding among their sites.

const Numerics doubles{.compute = at::kDouble, .wide = at::kDouble};
const std::filesystem::path data = test_data();

/// A target in float64, and what its tied embedding is called.
struct Family {
  const char* name;
  const char* embedding;
};

NamedTensors weights_of(const Family& family) {
  std::vector<std::string> warnings;
  return family.name == std::string("llama_simple_mlp")
             ? read_llama_simple_mlp(data / "plain" / "target", warnings).weights
             : read_huggingface(data / "huggingface" / family.name, warnings).weights;
}

/// With `weights` in place of its own, and a head of its own where they have one.
std::unique_ptr<Target> target_of(const Family& family, const NamedTensors& weights) {
  std::vector<std::string> warnings;
  if (family.name == std::string("llama_simple_mlp")) {
    const auto config = read_llama_simple_mlp(data / "plain" / "target", warnings).config;
    return std::make_unique<LlamaSimpleMlp>(config, weights, doubles);
  }
  HuggingFaceCheckpoint checkpoint = read_huggingface(data / "huggingface" / family.name, warnings);
  checkpoint.weights = weights;
  std::visit([&](auto& config) { config.tie_word_embeddings = weights.back().first != "lm_head.weight"; },
             checkpoint.config);
  return make_target(checkpoint, doubles);
}

Decomposition decompose(const Family& family, const CausalImportanceConfig& ci) {
  RunConfig config;
  config.seed = 3;
  config.sites = {{family.embedding, 5}, {"*.mlp.*", 4}};
  config.causal_importance = ci;
  return make_decomposition(config, doubles, "run.yaml", target_of(family, weights_of(family)));
}

const CausalImportanceConfig transformer =
    GlobalSharedTransformerConfig{.d_model = 8, .n_blocks = 1, .n_heads = 2, .d_mlp = 12};

std::size_t site_of(const Decomposition& d, const Family& family) {
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    if (d.sites[i].name == family.embedding) return i;
  }
  throw std::runtime_error("no such site");
}

class EmbeddingOf : public ::testing::TestWithParam<Family> {};

TEST_P(EmbeddingOf, MaskedItIsAnotherEmbeddingBeforeTheSameHead) {
  const Family& family = GetParam();
  const Decomposition d = decompose(family, transformer);
  const std::size_t site = site_of(d, family);
  const at::Tensor V = d.components.V(site), U = d.components.U(site);
  const at::Tensor tokens = at::arange(12).view({2, 6}), m = uniform_values({1, 5}, 1, 0.0, 1.0);

  // Every mask of the embedding is m, no Δ; every other site is as it stands.
  const at::NoGradGuard no_grad;
  std::vector<SitePass> passes(d.sites.size());
  for (SitePass& pass : passes) pass.masked = false;
  passes[site] = {.V = {V, {}}, .U = {U, {}}, .importance = m.expand({12, 5}).contiguous()};
  MaskedExecutor executor(d.sites, passes);
  const at::Tensor found = d.target->forward(tokens, executor);

  NamedTensors weights = weights_of(family);
  const at::Tensor before = weights.front().second.clone();
  weights.front().second = at::matmul(V * m, U);
  if (weights.back().first != "lm_head.weight") weights.emplace_back("lm_head.weight", before);
  PlainExecutor plain;
  const at::Tensor expected = target_of(family, weights)->forward(tokens, plain);
  expect_close(found, expected, {1e-9, 1e-9}, "logits");
}

TEST_P(EmbeddingOf, TheCleanPassKeepsItsTokensAndRows) {
  const Family& family = GetParam();
  const Decomposition d = decompose(family, transformer);
  const std::size_t site = site_of(d, family);
  const at::Tensor tokens = at::arange(12).view({2, 6});
  const CleanPass clean = clean_pass(d, tokens, /*keep_outputs=*/true);
  expect_identical(clean.inputs[site], at::arange(12), "tokens");
  expect_identical(clean.outputs[site], weights_of(family).front().second.narrow(0, 0, 12).to(at::kDouble),
                   "rows");
}

TEST_P(EmbeddingOf, FaithfulnessCoversIt) {
  const Family& family = GetParam();
  const Decomposition d = decompose(family, transformer);
  const std::size_t site = site_of(d, family);
  const at::Tensor V = d.components.V(site), U = d.components.U(site);
  const at::Tensor table = weights_of(family).front().second.to(at::kDouble);
  EXPECT_EQ(d.sites[site].d_in, table.size(0));
  EXPECT_EQ(d.sites[site].d_out, table.size(1));
  const at::Tensor dV = at::zeros_like(V), dU = at::zeros_like(U);
  const at::Tensor value = squared_delta(d, site, 0.5, dV, dU);
  const at::Tensor difference = at::matmul(V, U) - table;
  expect_close(value, difference.square().sum(), {1e-12}, "value");
  expect_close(dV, at::matmul(difference, U.t()), tight, "dV");
  expect_close(dU, at::matmul(V.t(), difference), tight, "dU");
}

/// Σ of all importances, weighted, as a function of V of the embedding.
TEST_P(EmbeddingOf, CausalImportanceReadsRowsOfVAndItsGradientReachesThem) {
  const Family& family = GetParam();
  const at::Tensor tokens = at::tensor({1, 4, 4, 2, 0, 1}, at::kLong).view({2, 3});
  const CausalImportanceConfig kinds[] = {transformer, MlpCiConfig{.hidden_dims = {6}},
                                          GlobalSharedMlpCiConfig{.hidden_dims = {6}}};
  for (const CausalImportanceConfig& kind : kinds) {
    Decomposition d = decompose(family, kind);
    const std::size_t site = site_of(d, family);
    const CleanPass clean = clean_pass(d, tokens);
    const at::Tensor weight = uniform_values({6, d.sites.total_C()}, 2),
                     gradient = d.components.make_gradient();
    const std::vector<Parameter> ci = d.ci_parameters.bind({});
    const Importance importance = causal_importance(d, clean, ci, d.components.bind(gradient));
    torch::autograd::backward({importance.z}, {weight});
    const at::Tensor V = d.components.V(site);
    check_gradient(
        [&](const std::vector<at::Tensor>& in) {
          const at::Tensor saved = V.clone();
          V.detach().copy_(in[0]);
          const at::Tensor value = (causal_importance(d, clean, ci, d.components.bind({})).z * weight).sum();
          V.detach().copy_(saved);
          return value;
        },
        {V}, {d.components.view(gradient, 2 * site)},
        std::visit([](const auto& config) { return std::string(config.kind); }, kind));
    // Rows of tokens that are not there have none.
    EXPECT_EQ(d.components.view(gradient, 2 * site)[3].abs().max().item<double>(), 0.0);
    EXPECT_GT(d.components.view(gradient, 2 * site)[4].abs().max().item<double>(), 0.0);
  }
}

/// The loss of a pass under all kinds of draws, as a function of V and U of the embedding.
TEST_P(EmbeddingOf, GradientsOfALossAreTheSlopes) {
  const Family& family = GetParam();
  Decomposition d = decompose(family, transformer);
  const std::size_t site = site_of(d, family);
  const at::Tensor tokens = at::tensor({1, 4, 4, 2, 0, 1}, at::kLong).view({2, 3});
  const CleanPass clean = clean_pass(d, tokens);
  const at::Tensor gradient = d.components.make_gradient();
  const BoundSubcomponents trained = d.components.bind(gradient), frozen = d.components.bind({});
  const at::Tensor g = uniform_values({6, d.sites.total_C()}, 5, 0.0, 1.0), dg = at::zeros_like(g);
  const auto loss = [&](const BoundSubcomponents& components, const at::Tensor& importance,
                        const at::Tensor& importance_gradient, double seed) {
    PassContext context{.decomposition = &d,
                        .clean = &clean,
                        .importance = importance,
                        .importance_gradient = importance_gradient,
                        .components = &components};
    const RandomKey key = make_key(1, RandomPurpose::mask_sources);
    return reconstruct(context, random_sources(context, SourceDistribution::uniform, key),
                       draw_routing(UniformKSubsetRoutingConfig{}, key, context), seed);
  };
  loss(trained, g, dg, 1.0);
  const at::Tensor V = d.components.V(site), U = d.components.U(site);
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        const at::Tensor saved_V = V.clone(), saved_U = U.clone();
        V.detach().copy_(in[0]), U.detach().copy_(in[1]);
        const at::Tensor value = loss(frozen, in[2], {}, 0.0);
        V.detach().copy_(saved_V), U.detach().copy_(saved_U);
        return value;
      },
      {V, U, g}, {d.components.view(gradient, 2 * site), d.components.view(gradient, 2 * site + 1), dg},
      "V, U, g");
}

/// Gives what the model gives, the embedding's rows on a leaf.
class EmbeddingLeaf final : public Executor {
 public:
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    return vpd::linear(x, matrix.weight, matrix.bias);
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    rows = matrix.table().value.index_select(0, tokens).requires_grad_(true);
    return rows;
  }
  at::Tensor rows;
};

TEST_P(EmbeddingOf, AttributionIsTheSlopeAlongItsSubcomponents) {
  const Family& family = GetParam();
  const Decomposition d = decompose(family, transformer);
  const std::size_t site = site_of(d, family);
  const at::Tensor tokens = at::tensor({1, 4, 4, 2, 0, 1}, at::kLong).view({2, 3});
  const CleanPass clean = clean_pass(d, tokens);
  const at::Tensor scores = at::full({6, d.sites.total_C()}, -1.0, at::kDouble);
  attribute_squared_norm(d, clean, d.components.bind({}), scores);
  EmbeddingLeaf executor;
  d.target->forward(tokens, executor).square().sum().backward();
  const at::Tensor V = d.components.V(site), U = d.components.U(site);
  const at::Tensor expected =
      (V.index_select(0, tokens.flatten()) * at::matmul(executor.rows.grad(), U.t())).abs();
  expect_close(d.sites.columns(scores, site), expected, {1e-9, 1e-9 * expected.max().item<double>()},
               "scores");
}

INSTANTIATE_TEST_SUITE_P(Families, EmbeddingOf,
                         ::testing::Values(Family{"llama_simple_mlp", "wte"}, Family{"gpt2", "wte"},
                                           Family{"llama_stretched", "embed_tokens"},
                                           Family{"qwen3", "embed_tokens"}),
                         [](const auto& family) { return std::string(family.param.name); });

TEST(EmbeddingSites, KindsThatReadInputVectorsAreRefused) {
  const Family family{"gpt2", "wte"};
  EXPECT_ERROR_AS(ConfigError,
                  "shared_mlp reads the input vector of each site, and the embedding \"wte\" has none",
                  decompose(family, SharedMlpCiConfig{.hidden_dims = {6}}));
  EXPECT_ERROR_AS(ConfigError, "vector_mlp reads the input vector of each site",
                  decompose(family, VectorMlpCiConfig{.hidden_dims = {6}}));
}

}  // namespace
}  // namespace vpd::testing
