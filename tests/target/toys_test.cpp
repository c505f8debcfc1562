// The toy targets against their formulas written down plainly in double precision, their gradients, and their
// files.

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "io/support.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

constexpr TmsConfig tms_model{.n_features = 7, .n_hidden = 3, .n_hidden_layers = 2};
constexpr ResidualMlpConfig residual_model{.n_features = 6, .d_embed = 11, .d_mlp = 5, .n_layers = 2};
constexpr InductionConfig induction_model{
    .vocab_size = 9, .block_size = 13, .d_model = 6, .n_heads = 2, .n_layers = 2};

NamedTensors random_weights(const std::vector<TensorSpec>& specs) {
  NamedTensors weights;
  for (const TensorSpec& spec : specs)
    weights.emplace_back(spec.name, uniform_values(spec.shape, 40 + weights.size(), -0.8, 0.8));
  return weights;
}

const at::Tensor& named(const NamedTensors& weights, const std::string& name) {
  for (const auto& [other, weight] : weights) {
    if (other == name) return weight;
  }
  throw std::runtime_error("no weight named " + name);
}

at::Tensor random_tokens(std::int64_t B, std::int64_t T) {
  return uniform_values({B, T}, 5, 0.0, 9.0).floor().to(at::kLong);
}

// --- the formulas ---

at::Tensor plain_tms(const NamedTensors& w, const at::Tensor& x) {
  at::Tensor h = at::matmul(x, named(w, "linear1.weight").t());
  for (const char* name : {"hidden_layers.0.weight", "hidden_layers.1.weight"})
    h = at::matmul(h, named(w, name).t());
  return at::clamp_min(at::matmul(h, named(w, "linear2.weight").t()) + named(w, "linear2.bias"), 0.0);
}

at::Tensor plain_residual_mlp(const NamedTensors& w, const at::Tensor& x) {
  at::Tensor r = at::matmul(x, named(w, "W_E"));
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    const at::Tensor neurons = at::clamp_min(at::matmul(r, named(w, layer + "mlp_in.weight").t()), 0.0);
    r = r + at::matmul(neurons, named(w, layer + "mlp_out.weight").t());
  }
  return at::matmul(r, named(w, "W_E").t());
}

// Positions one by one, and entry by entry of the table.
at::Tensor plain_positions(std::int64_t T, std::int64_t d) {
  at::Tensor table = at::zeros({T, d}, at::kDouble);
  auto values = table.accessor<double, 2>();
  for (std::int64_t t = 0; t < T; ++t) {
    for (std::int64_t i = 0; i < d; ++i) {
      const double angle =
          static_cast<double>(t) / std::pow(10000.0, static_cast<double>(i - i % 2) / static_cast<double>(d));
      values[t][i] = i % 2 == 0 ? std::sin(angle) : std::cos(angle);
    }
  }
  return table;
}

at::Tensor plain_induction(const NamedTensors& w, const at::Tensor& tokens) {
  const std::int64_t T = tokens.size(1), d = induction_model.d_model, heads = induction_model.n_heads;
  const at::Tensor positions = plain_positions(T, d), future = at::ones({T, T}, at::kBool).triu(1);
  at::Tensor x =
      at::index_select(named(w, "token_embed.weight"), 0, tokens.flatten()).view({tokens.size(0), T, d});
  for (const std::string block : {"blocks.0.attn.", "blocks.1.attn."}) {
    const auto apply = [&](const char* name, const at::Tensor& input) {
      return at::matmul(input, named(w, block + name + ".weight").t());
    };
    const at::Tensor q = apply("q_proj", x) + positions, k = apply("k_proj", x) + positions,
                     v = apply("v_proj", x);
    std::vector<at::Tensor> mixed;
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto part = [&](const at::Tensor& all) { return all.narrow(2, head * d / heads, d / heads); };
      const at::Tensor scores = at::matmul(part(q), part(k).transpose(1, 2)) /
                                std::sqrt(static_cast<double>(d) / static_cast<double>(heads));
      const at::Tensor pattern =
          at::softmax(scores.masked_fill(future, -std::numeric_limits<double>::infinity()), -1);
      mixed.push_back(at::matmul(pattern, part(v)));
    }
    x = x + apply("out_proj", at::cat(mixed, 2));
  }
  return at::matmul(x, named(w, "unembed.weight").t()).flatten(0, 1);
}

// --- one case for each toy ---

struct Toy {
  const char* name;
  std::vector<TensorSpec> (*specs)();
  std::unique_ptr<Target> (*make)(const NamedTensors&, const Numerics&, const NamedTensors&);
  at::Tensor (*plain)(const NamedTensors&, const at::Tensor&);
  at::Tensor (*input)();
  void (*write)(const fs::path&, const NamedTensors&);
  TargetConfig (*config)(const fs::path&);
};

template <class Model, auto& model>
std::unique_ptr<Target> make_toy(const NamedTensors& weights, const Numerics& numerics,
                                 const NamedTensors& gradients) {
  return std::make_unique<Model>(model, weights, numerics, gradients);
}

template <auto& model>
void write_toy(const fs::path& directory, const NamedTensors& weights) {
  write_checkpoint(directory, toy_config_json(model), weights);
}

const Toy toys[] = {
    {"tms", [] { return tms_weights(tms_model); }, make_toy<Tms, tms_model>, plain_tms,
     [] {
       return uniform_values({10, 7}, 1);
     },
     write_toy<tms_model>, [](const fs::path& path) -> TargetConfig { return TmsTarget{path}; }},
    {"residual_mlp", [] { return residual_mlp_weights(residual_model); },
     make_toy<ResidualMlp, residual_model>, plain_residual_mlp,
     [] {
       return uniform_values({10, 6}, 2);
     },
     write_toy<residual_model>, [](const fs::path& path) -> TargetConfig { return ResidualMlpTarget{path}; }},
    {"induction", [] { return induction_weights(induction_model); },
     make_toy<InductionTransformer, induction_model>, plain_induction, [] { return random_tokens(4, 12); },
     write_toy<induction_model>, [](const fs::path& path) -> TargetConfig { return InductionTarget{path}; }}};

class ToyTarget : public ::testing::TestWithParam<Toy> {};
INSTANTIATE_TEST_SUITE_P(Toys, ToyTarget, ::testing::ValuesIn(toys),
                         [](const auto& toy) { return toy.param.name; });

void expect_formula(const Toy& toy, at::Device device) {
  const NamedTensors weights = random_weights(toy.specs());
  const at::Tensor input = toy.input(), expected = toy.plain(weights, input);
  const double largest = expected.abs().max().item<double>();
  ASSERT_GT(largest, 0.1);
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const Numerics numerics{
        .device = device, .compute = type, .wide = type == at::kDouble ? at::kDouble : at::kFloat};
    const at::NoGradGuard no_grad;
    const auto target = toy.make(weights, numerics, {});
    PlainExecutor executor;
    const at::Tensor output = target->forward(input.to(device), executor);
    EXPECT_EQ(output.scalar_type(), type);
    // Each output is a sum through three matrices of at most 11 columns, or attention over 12 positions.
    expect_close(output.cpu(), expected.to(type), rounding(type, type == at::kBFloat16 ? 20 : 100, largest),
                 at::toString(type));
  }
}

TEST_P(ToyTarget, ComputesItsFormula) { expect_formula(GetParam(), at::kCPU); }

TEST_P(ToyTarget, ComputesItsFormulaOnCuda) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  expect_formula(GetParam(), at::kCUDA);
}

TEST_P(ToyTarget, HasTheGradientsOfItsFormula) {
  NamedTensors weights = random_weights(GetParam().specs()), gradients;
  for (const auto& [name, weight] : weights) gradients.emplace_back(name, at::zeros_like(weight));
  const at::Tensor input = GetParam().input();
  const Numerics numerics{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};
  const auto target = GetParam().make(weights, numerics, gradients);
  PlainExecutor executor;
  const at::Tensor output = target->forward(input, executor), seed = uniform_values(output.sizes(), 77);
  torch::autograd::backward({output}, {seed});

  std::vector<at::Tensor> inputs, found;
  const bool features = target->features() > 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i].first == "W_E") continue;  // which is never trained
    inputs.push_back(weights[i].second);
    found.push_back(gradients[i].second);
    EXPECT_GT(found.back().abs().max().item<double>(), 1e-6) << weights[i].first << " does not matter";
  }
  const auto value = [&](const std::vector<at::Tensor>& values) {
    NamedTensors changed;
    std::size_t next = 0;
    for (const auto& [name, weight] : weights)
      changed.emplace_back(name, name == "W_E" ? weight : values[next++]);
    return (GetParam().plain(changed, input) * seed).sum();
  };
  check_gradient(value, inputs, found, features ? "gradient of a model of features" : "gradient", 1e-6);
}

TEST_P(ToyTarget, SaysWhatItReads) {
  const auto target = GetParam().make(random_weights(GetParam().specs()), {}, {});
  const at::Tensor input = GetParam().input();
  if (input.is_floating_point()) {
    EXPECT_EQ(target->input().features, input.size(1));
    EXPECT_EQ(target->input().vocabulary, 0);
    EXPECT_EQ(target->divergence(), Divergence::mse);
  } else {
    EXPECT_EQ(target->input().features, 0);
    EXPECT_EQ(target->input().vocabulary, induction_model.vocab_size);
    EXPECT_EQ(target->divergence(), Divergence::kl);
    EXPECT_EQ(target->head()->name, "unembed");
    EXPECT_EQ(target->input().longest, induction_model.block_size);
  }
  for (std::size_t i = 0; i < target->matrices().size(); ++i) {
    const Matrix& matrix = target->matrices()[i];
    EXPECT_EQ(matrix.index, i);
    const bool fixed = matrix.name == "W_E" || matrix.name == "W_U";
    EXPECT_EQ(matrix.in_block, !fixed && matrix.name != "token_embed" && matrix.name != "unembed");
  }
}

// As `vpd check` sees it, without weights.
TEST_P(ToyTarget, IsWhatItsArchitectureSays) {
  const TemporaryDirectory scratch;
  const NamedTensors weights = random_weights(GetParam().specs());
  GetParam().write(scratch / "target", weights);
  std::vector<std::string> warnings;
  const Architecture architecture = describe_target(GetParam().config(scratch / "target"), warnings);
  const auto target = GetParam().make(weights, {}, {});
  ASSERT_EQ(architecture.matrices.size(), target->matrices().size());
  for (std::size_t i = 0; i < architecture.matrices.size(); ++i) {
    const MatrixShape& shape = architecture.matrices[i];
    const Matrix& matrix = target->matrices()[i];
    EXPECT_EQ(shape.name, matrix.name);
    EXPECT_EQ(shape.d_in, matrix.d_in()) << shape.name;
    EXPECT_EQ(shape.d_out, matrix.d_out()) << shape.name;
    EXPECT_EQ(shape.in_block, matrix.in_block) << shape.name;
    EXPECT_EQ(shape.embedding, matrix.embedding) << shape.name;
  }
  std::int64_t parameters = 0;
  for (const auto& [name, weight] : weights) parameters += weight.numel();
  EXPECT_EQ(architecture.parameters, parameters);
  EXPECT_EQ(architecture.has_head, target->head() != nullptr);
  EXPECT_EQ(architecture.divergence, target->divergence());
  const InputShape expected = target->input(), found = architecture.input();
  EXPECT_EQ(found.vocabulary, expected.vocabulary);
  EXPECT_EQ(found.features, expected.features);
  EXPECT_EQ(found.longest, expected.longest);
}

TEST_P(ToyTarget, IsWhatWasWritten) {
  const TemporaryDirectory scratch;
  NamedTensors weights = random_weights(GetParam().specs());
  for (auto& [name, weight] : weights) weight = weight.to(at::kFloat);
  GetParam().write(scratch / "target", weights);
  std::vector<std::string> warnings;
  const auto read = load_target(GetParam().config(scratch / "target"), {}, warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  const auto made = GetParam().make(weights, {}, {});
  const at::NoGradGuard no_grad;
  PlainExecutor executor;
  expect_identical(read->forward(GetParam().input(), executor), made->forward(GetParam().input(), executor),
                   "output");
}

TEST_P(ToyTarget, RefusesFilesThatAreNotItsOwn) {
  const TemporaryDirectory scratch;
  const NamedTensors weights = random_weights(GetParam().specs());
  std::vector<std::string> warnings;
  const auto refused = [&](const NamedTensors& tensors, const std::string& word) {
    GetParam().write(scratch / "target", tensors);
    EXPECT_DATA_ERROR(word, load_target(GetParam().config(scratch / "target"), {}, warnings));
  };
  const auto& [last, tensor] = weights.back();
  refused({weights.begin(), weights.end() - 1}, last);
  NamedTensors changed = weights;
  changed.back().second = at::cat({tensor, tensor}, 0);
  refused(changed, "expected the shape");
  changed.back().second = at::full_like(tensor, std::numeric_limits<double>::quiet_NaN());
  refused(changed, last);

  changed = weights;
  changed.emplace_back("ln_f.weight", at::ones({3}));
  GetParam().write(scratch / "target", changed);
  load_target(GetParam().config(scratch / "target"), {}, warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_TRUE(contains(warnings.front(), "ln_f.weight is not part of a"));

  write_atomically(scratch / "target" / "model_config.json", R"({"model_type": "LlamaSimpleMLP"})");
  EXPECT_DATA_ERROR("model_type: expected", load_target(GetParam().config(scratch / "target"), {}, warnings));
  write_atomically(scratch / "target" / "model_config.json", "{}");
  EXPECT_DATA_ERROR("no such key", load_target(GetParam().config(scratch / "target"), {}, warnings));
}

TEST(ToyTargets, MissingWeightIsNamed) {
  EXPECT_THROW(Tms(tms_model, {}, {}), UsageError);
  EXPECT_THROW(ResidualMlp(residual_model, {}, {}), UsageError);
  EXPECT_THROW(InductionTransformer(induction_model, {}, {}), UsageError);
}

// --- first weights ---

TEST(ToyTargets, FirstWeightsOfTms) {
  TmsConfig model{.n_features = 40, .n_hidden = 10, .n_hidden_layers = 1};
  const NamedTensors weights = initial_tms(model, 3);
  const at::Tensor W = named(weights, "linear1.weight");
  expect_identical(named(weights, "linear2.weight"), W.t().contiguous(), "linear2");
  expect_identical(named(weights, "hidden_layers.0.weight"), at::eye(10, at::kFloat), "identity");
  EXPECT_LE(W.abs().max().item<double>(), 1.0 / std::sqrt(40.0));
  EXPECT_NEAR(W.std().item<double>(), 1.0 / std::sqrt(3.0 * 40.0), 0.01);
  expect_identical(named(initial_tms(model, 3), "linear1.weight"), W, "the same seed");
  EXPECT_FALSE(named(initial_tms(model, 4), "linear1.weight").equal(W));
  model.hidden = HiddenMatrices::random;
  EXPECT_NEAR(named(initial_tms(model, 3), "hidden_layers.0.weight").std().item<double>(), 1.0, 0.25);
}

TEST(ToyTargets, FirstWeightsOfTheOthers) {
  const at::Tensor W_E = named(initial_residual_mlp({100, 1000, 50, 1}, 0), "W_E");
  expect_close(W_E.norm(2, {1}, false), at::ones({100}), rounding(at::kFloat, 1000, 1), "rows of length 1");
  const at::Tensor cosines = at::mm(W_E, W_E.t()).sub(at::eye(100, at::kFloat));
  EXPECT_LT(cosines.abs().max().item<double>(), 0.2) << "rows point anywhere";
  const NamedTensors weights = initial_induction(induction_model, 0);
  EXPECT_EQ(weights.size(), induction_weights(induction_model).size());
  EXPECT_NEAR(named(weights, "token_embed.weight").std().item<double>(), 1.0, 0.3);
}

TEST(ToyTargets, InductionAnswers) {
  const at::Tensor tokens = at::tensor({0, 3, 8, 5, 2, 8, 0, 8, 7, 8, 1, 8}, at::kLong).view({2, 6});
  EXPECT_TRUE(induction_first_positions(tokens, induction_model).equal(at::tensor({2, 1}, at::kLong)));
  EXPECT_TRUE(induction_answers(tokens, induction_model).equal(at::tensor({5, 7}, at::kLong)));
}

}  // namespace
}  // namespace vpd::testing
