// Each kind of causal-importance function that is made of MLPs against its formula (method, section 3), one
// network after another in double precision; its parameters' names, shapes and initial values; and the
// registry of other people's kinds.

#include "vpd/decomposition/causal_importance.hpp"

#include <cmath>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "io/support.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/decomposition/subcomponents.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

// In alphabetical order, as they will stand.
Sites two_sites() {
  return Sites({{.name = "b", .matrix = 1, .d_in = 7, .d_out = 4, .C = 3},
                {.name = "a", .matrix = 0, .d_in = 5, .d_out = 6, .C = 11}},
               2);
}

struct KindCase {
  const char* name;
  CausalImportanceConfig config;
};

std::vector<KindCase> kinds(CiInitialization initialization = CiInitialization::published) {
  return {{"mlp", MlpCiConfig{{6}, initialization}},
          {"mlp of two hidden layers", MlpCiConfig{{6, 5}, initialization}},
          {"vector_mlp", VectorMlpCiConfig{{6}, initialization}},
          {"vector_mlp of two hidden layers", VectorMlpCiConfig{{6, 5}, initialization}},
          {"shared_mlp", SharedMlpCiConfig{{6, 5}, initialization}},
          {"shared_mlp without hidden layers", SharedMlpCiConfig{{}, initialization}},
          {"global_shared_mlp", GlobalSharedMlpCiConfig{{6, 5}, initialization}},
          {"global_shared_mlp without hidden layers", GlobalSharedMlpCiConfig{{}, initialization}}};
}

at::Tensor exact_gelu(const at::Tensor& x) { return 0.5 * x * (1 + at::erf(x / std::sqrt(2.0))); }

/// x through layers of weights [d_in, d_out] and biases.
at::Tensor network(at::Tensor h, const std::vector<std::pair<at::Tensor, at::Tensor>>& layers) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    h = at::matmul(h, layers[i].first) + layers[i].second;
    if (i + 1 < layers.size()) h = exact_gelu(h);
  }
  return h;
}

/// z of a kind from its parameters by name, float64.
at::Tensor reference(const CausalImportanceConfig& config, const Sites& sites,
                     const std::vector<at::Tensor>& inputs, const std::map<std::string, at::Tensor>& ci,
                     const std::vector<at::Tensor>& V) {
  const auto layers = [&](const std::string& prefix, std::int64_t c) {
    std::vector<std::pair<at::Tensor, at::Tensor>> found;
    for (int i = 0;; ++i) {
      const std::string layer = prefix + "layers." + std::to_string(i);
      if (!ci.contains(layer + ".weight")) return found;
      const at::Tensor weight = ci.at(layer + ".weight"), bias = ci.at(layer + ".bias");
      found.emplace_back(c < 0 ? weight.t() : weight[c], c < 0 ? bias : bias[c]);
    }
  };
  if (std::holds_alternative<GlobalSharedMlpCiConfig>(config))
    return network(at::cat(inputs, 1), layers("", -1));
  std::vector<at::Tensor> z;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const std::string prefix = sites[i].name + ".";
    if (std::holds_alternative<SharedMlpCiConfig>(config)) {
      z.push_back(network(inputs[i], layers(prefix, -1)));
      continue;
    }
    for (std::int64_t c = 0; c < sites[i].C; ++c) {
      const bool scalar = std::holds_alternative<MlpCiConfig>(config);
      z.push_back(
          network(scalar ? at::matmul(inputs[i], V[i].narrow(1, c, 1)) : inputs[i], layers(prefix, c)));
    }
  }
  return at::cat(z, 1);
}

/// A function with its parameters, subcomponents and inputs, and gradient buffers for both.
struct Problem {
  Problem(const CausalImportanceConfig& config, const Numerics& numerics)
      : ci(make_causal_importance(config, sites, numerics)),
        parameters(ci->parameters(), numerics),
        components(sites, numerics),
        gradient(parameters.make_gradient()),
        components_gradient(components.make_gradient()) {
    ci->initialise(parameters, 1);
    // Biases start at 0, which would hide them.
    parameters.flat().add_(uniform_values({parameters.flat().numel()}, 3, -0.1, 0.1));
    parameters.refresh();
    components.initialise(sites, 2);
    for (std::size_t i = 0; i < sites.size(); ++i)
      inputs.push_back(uniform_values({13, sites[i].d_in}, 10 + i, -2.0, 2.0).to(numerics.compute));
  }

  at::Tensor forward() const {
    return ci->forward(inputs, 1, parameters.bind(gradient), components.bind(components_gradient));
  }

  Sites sites = two_sites();
  std::unique_ptr<CausalImportance> ci;
  ParameterSet parameters;
  Subcomponents components;
  at::Tensor gradient, components_gradient;
  std::vector<at::Tensor> inputs;
};

struct TypeCase {
  const char* name;
  at::ScalarType compute, wide;
};

class CausalImportanceKinds : public ::testing::TestWithParam<TypeCase> {
 protected:
  /// Of a few layers of a few terms each, or a sum over 13 positions, of numbers up to 8.
  Tolerance tolerance() const {
    if (GetParam().compute == at::kBFloat16) return {0.0, 32 * epsilon(at::kBFloat16)};
    return rounding(GetParam().wide, 64, 8.0);
  }
};

TEST_P(CausalImportanceKinds, AreTheirFormulaAndSoAreTheirGradients) {
  const auto [name, compute, wide] = GetParam();
  for (const KindCase& kind : kinds()) {
    SCOPED_TRACE(kind.name);
    const Problem p(kind.config, {at::kCPU, compute, wide});
    std::map<std::string, at::Tensor> leaves;
    const std::vector<Parameter> bound = p.parameters.bind(p.gradient);
    const BoundSubcomponents components = p.components.bind(p.components_gradient);
    for (std::size_t i = 0; i < bound.size(); ++i)
      leaves[p.parameters.spec(i).name] = bound[i].value.to(at::kDouble).requires_grad_(true);
    std::vector<at::Tensor> V, inputs;
    for (std::size_t i = 0; i < p.sites.size(); ++i) {
      V.push_back(components.V(i).value.to(at::kDouble).requires_grad_(true));
      inputs.push_back(p.inputs[i].to(at::kDouble));
    }
    const at::Tensor expected = reference(kind.config, p.sites, inputs, leaves, V),
                     dz = uniform_values(expected.sizes(), 5).to(compute);
    torch::autograd::backward({expected}, {dz.to(at::kDouble)});

    const at::Tensor z = p.forward();
    expect_close(z.detach(), expected.detach().to(compute), tolerance(), "z");
    torch::autograd::backward({z}, {dz});
    for (std::size_t i = 0; i < bound.size(); ++i) {
      const std::string parameter = p.parameters.spec(i).name;
      expect_close(bound[i].gradient, leaves[parameter].grad().to(wide), tolerance(), parameter);
    }
    const bool reads_V = std::holds_alternative<MlpCiConfig>(kind.config);
    for (std::size_t i = 0; i < p.sites.size(); ++i) {
      if (reads_V) {
        expect_close(components.V(i).gradient, V[i].grad().to(wide), tolerance(), "V of " + p.sites[i].name);
      } else {
        EXPECT_EQ(components.V(i).gradient.abs().max().item<double>(), 0.0);
      }
      EXPECT_EQ(components.U(i).gradient.abs().max().item<double>(), 0.0);
    }
    EXPECT_FALSE(p.ci->forward(p.inputs, 1, p.parameters.bind({}), p.components.bind({})).requires_grad());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CausalImportanceKinds,
                         ::testing::Values(TypeCase{"float32", at::kFloat, at::kFloat},
                                           TypeCase{"float64", at::kDouble, at::kDouble},
                                           TypeCase{"bfloat16", at::kBFloat16, at::kFloat}),
                         [](const auto& type) { return std::string(type.param.name); });

TEST(CausalImportance, GradientsAreThoseOfCentralDifferences) {
  for (const KindCase& kind : kinds()) {
    SCOPED_TRACE(kind.name);
    const Problem p(kind.config, {at::kCPU, at::kDouble, at::kDouble});
    const at::Tensor z = p.forward();
    torch::autograd::backward({(z * z).sum()}, {});
    // The buffers are the inputs here: their gaps stay 0 and so do the gaps' gradients.
    check_gradient(
        [&](const std::vector<at::Tensor>& in) {
          p.parameters.flat().copy_(in[0]);
          p.components.flat().copy_(in[1]);
          const at::Tensor y = p.ci->forward(p.inputs, 1, p.parameters.bind({}), p.components.bind({}));
          return (y * y).sum();
        },
        {p.parameters.flat().clone(), p.components.flat().clone()}, {p.gradient, p.components_gradient},
        kind.name);
  }
}

std::map<std::string, std::vector<std::int64_t>> weight_shapes(const CausalImportanceConfig& config) {
  std::map<std::string, std::vector<std::int64_t>> map;
  for (const TensorSpec& spec : make_causal_importance(config, two_sites(), {})->parameters())
    map[spec.name] = spec.shape;
  return map;
}

TEST(CausalImportance, ParametersHaveTheNamesAndShapesOfTheFiles) {
  using Shapes = std::map<std::string, std::vector<std::int64_t>>;
  EXPECT_EQ(weight_shapes(MlpCiConfig{{6}}), (Shapes{{"a.layers.0.weight", {11, 1, 6}},
                                                     {"a.layers.0.bias", {11, 6}},
                                                     {"a.layers.1.weight", {11, 6, 1}},
                                                     {"a.layers.1.bias", {11, 1}},
                                                     {"b.layers.0.weight", {3, 1, 6}},
                                                     {"b.layers.0.bias", {3, 6}},
                                                     {"b.layers.1.weight", {3, 6, 1}},
                                                     {"b.layers.1.bias", {3, 1}}}));
  EXPECT_EQ(weight_shapes(VectorMlpCiConfig{{6}}).at("b.layers.0.weight"),
            (std::vector<std::int64_t>{3, 7, 6}));
  EXPECT_EQ(weight_shapes(SharedMlpCiConfig{{6}}), (Shapes{{"a.layers.0.weight", {6, 5}},
                                                           {"a.layers.0.bias", {6}},
                                                           {"a.layers.1.weight", {11, 6}},
                                                           {"a.layers.1.bias", {11}},
                                                           {"b.layers.0.weight", {6, 7}},
                                                           {"b.layers.0.bias", {6}},
                                                           {"b.layers.1.weight", {3, 6}},
                                                           {"b.layers.1.bias", {3}}}));
  EXPECT_EQ(weight_shapes(GlobalSharedMlpCiConfig{{6}}), (Shapes{{"layers.0.weight", {6, 12}},
                                                                 {"layers.0.bias", {6}},
                                                                 {"layers.1.weight", {14, 6}},
                                                                 {"layers.1.bias", {14}}}));
}

TEST(CausalImportance, InitialValuesHaveTheGainsOfTheMethod) {
  const Sites sites({{.name = "s", .matrix = 0, .d_in = 50, .d_out = 4, .C = 400}}, 1);
  const auto made = [&](const CausalImportanceConfig& config, std::uint64_t seed) {
    const auto ci = make_causal_importance(config, sites, {});
    ParameterSet parameters(ci->parameters(), {});
    ci->initialise(parameters, seed);
    return parameters;
  };
  for (const auto initialization : {CiInitialization::published, CiInitialization::framework}) {
    for (const KindCase& kind : kinds(initialization)) {
      SCOPED_TRACE(kind.name);
      const ParameterSet parameters = made(kind.config, 1);
      EXPECT_TRUE(at::equal(parameters.flat(), made(kind.config, 1).flat()));
      EXPECT_FALSE(at::equal(parameters.flat(), made(kind.config, 2).flat()));
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        const at::Tensor value = parameters.value(i);
        const bool is_bias = i % 2 == 1, is_last = i + 2 >= parameters.size();
        const double fan_in = static_cast<double>(parameters.spec(is_bias ? i - 1 : i).shape[1]);
        // The variance of n draws is off by about sqrt(2 / n); five times that.
        const double slack = 5.0 * std::sqrt(2.0 / static_cast<double>(value.numel()));
        if (initialization == CiInitialization::framework) {
          EXPECT_LE(value.abs().max().item<double>(), 1.0 / std::sqrt(fan_in));
          EXPECT_NEAR(value.var().item<double>() * fan_in * 3.0, 1.0, slack) << parameters.spec(i).name;
        } else if (is_bias) {
          EXPECT_EQ(value.abs().max().item<double>(), 0.0);
        } else {
          EXPECT_NEAR(value.var().item<double>() * fan_in / (is_last ? 1.0 : 2.0), 1.0, slack)
              << parameters.spec(i).name;
        }
      }
    }
  }
}

/// z = 0 everywhere, for the registry alone.
class NothingMatters final : public CausalImportance {
 public:
  explicit NothingMatters(const Sites& sites) : C_(sites.total_C()) {}
  std::vector<TensorSpec> parameters() const override { return {{"unused", {1}}}; }
  void initialise(ParameterSet&, std::uint64_t) const override {}
  at::Tensor forward(const std::vector<at::Tensor>& inputs, std::int64_t, const std::vector<Parameter>&,
                     const BoundSubcomponents&) const override {
    return at::zeros({inputs.front().size(0), C_}, inputs.front().options());
  }

 private:
  std::int64_t C_;
};

TEST(CausalImportance, OthersAreMadeByNameFromTheirOptions) {
  const auto make = [](const std::string& name, std::map<std::string, config::Scalar> options = {}) {
    return make_causal_importance(CustomCiConfig{name, std::move(options)}, two_sites(), {});
  };
  EXPECT_ERROR_AS(ConfigError,
                  "causal_importance.name: expected a kind that this program registers (it registers none), "
                  "found \"nothing_matters\"",
                  make("nothing_matters"));
  const auto factory = [](CustomOptions& options, const Sites& sites,
                          const Numerics&) -> std::unique_ptr<CausalImportance> {
    if (!options.flag("made", true)) return nullptr;
    return std::make_unique<NothingMatters>(sites);
  };
  register_causal_importance("nothing_matters", factory);
  register_causal_importance("another", factory);
  const auto ci = make("nothing_matters", {{"made", config::Scalar(true)}});
  EXPECT_EQ(ci->forward({at::zeros({2, 5}), at::zeros({2, 7})}, 1, {}, {}).sizes(), at::IntArrayRef({2, 14}));
  EXPECT_FALSE(ci->cost(2, 2).has_value());
  EXPECT_ERROR_AS(UsageError, "named \"another\" is registered already",
                  register_causal_importance("another", factory));
  EXPECT_ERROR_AS(ConfigError,
                  "(another, nothing_matters), found \"nothing_mater\" (the nearest is \"nothing_matters\")",
                  make("nothing_mater"));
  EXPECT_ERROR_AS(ConfigError, "causal_importance.options.mad: expected a known option (made), found \"mad\"",
                  make("another", {{"mad", config::Scalar(true)}}));
  EXPECT_ERROR_AS(UsageError, "\"another\" made none", make("another", {{"made", config::Scalar(false)}}));
}

}  // namespace
}  // namespace vpd
