// The reference numbers of tests/data: forward values, every loss and its gradients under fixed draws, and
// ten steps of training. Tolerances are those that the numbers came with: about ten times what an independent
// float32 program is off; 1e-6 in float64.

#include "support/golden.hpp"

#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "support/device_case.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/passes/sources.hpp"
#include "vpd/training/step.hpp"

namespace vpd::testing {
namespace {

struct Parameters {
  const char* name;
  at::ScalarType type;
  at::DeviceType device;
};

class Golden : public ::testing::TestWithParam<Parameters> {
 protected:
  void SetUp() override {
    if (GetParam().device == at::kCUDA && !cuda_is_usable())
      GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  }

  GoldenCase golden_case() const {
    return GoldenCase(GetParam().name, GetParam().type, {}, at::Device(GetParam().device));
  }
  bool single() const { return GetParam().type == at::kFloat; }
  double tolerance(double float32) const { return single() ? float32 : 1e-6; }
};

/// A case with everything that one backward pass writes to.
struct Workspace {
  explicit Workspace(const GoldenCase& golden)
      : d(golden.decomposition),
        clean(clean_pass(d, golden.fixed.load("tokens").to(d.numerics.device), true)) {
    components_gradient = d.components.make_gradient();
    ci_gradient = d.ci_parameters.make_gradient();
    components = d.components.bind(components_gradient);
    importance = causal_importance(d, clean, d.ci_parameters.bind(ci_gradient), components);
    importance_gradient = at::zeros_like(importance.lower);
    context = {.decomposition = &d,
               .clean = &clean,
               .importance = importance.lower,
               .importance_gradient = importance_gradient,
               .components = &components};
  }

  /// dL/dz of all that reached the importances, and on to the CI function's parameters.
  void finish(const std::vector<PenaltyGradient>& powers = {}) {
    const at::Tensor dz = squash_backward(importance.z.detach(), importance_gradient, powers.data(),
                                          static_cast<int>(powers.size()));
    torch::autograd::backward({importance.z}, {dz});
  }

  void expect_gradients(const GoldenCase& golden, const std::string& loss, double tolerance) const {
    const auto expect = [&](const std::string& name, const at::Tensor& actual) {
      const std::string key = "grad/" + loss + "/" + name;
      if (golden.tensors.find(key)) {
        EXPECT_LE(relative_error(actual, golden.value(key)), tolerance) << key;
      } else {
        EXPECT_EQ(actual.abs().max().item<double>(), 0.0) << key << " should be 0";
      }
    };
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      expect("V/" + d.sites[i].name, components.V(i).gradient);
      expect("U/" + d.sites[i].name, components.U(i).gradient);
    }
    for (std::size_t i = 0; i < d.ci_parameters.size(); ++i) {
      expect("ci/" + d.ci_parameters.spec(i).name, d.ci_parameters.view(ci_gradient, i));
    }
  }

  const Decomposition& d;
  CleanPass clean;
  at::Tensor components_gradient, ci_gradient, importance_gradient;
  BoundSubcomponents components;
  Importance importance;
  PassContext context;
};

TEST_P(Golden, CleanForwardAndCausalImportance) {
  const GoldenCase golden = golden_case();
  const Workspace w(golden);
  EXPECT_LE(relative_error(w.clean.output, golden.value("logits")), tolerance(1e-5));
  for (std::size_t i = 0; i < w.d.sites.size(); ++i) {
    const Site& site = w.d.sites[i];
    const at::Tensor z = site.columns(w.importance.z.detach());
    EXPECT_LE(relative_error(w.clean.inputs[i], golden.value("input/" + site.name)), tolerance(1e-5))
        << site.name;
    EXPECT_LE(relative_error(z, golden.value("z/" + site.name)), tolerance(1e-5)) << site.name;
    EXPECT_LE(relative_error(site.columns(w.importance.lower), golden.value("lower/" + site.name)),
              tolerance(5e-5))
        << site.name;
  }
}

TEST_P(Golden, ReconstructionLossesAndGradients) {
  const GoldenCase golden = golden_case();
  for (const std::string loss :
       {"stochastic_recon", "adversarial_recon", "ci_masked_recon", "unmasked_recon", "hidden_acts_recon"}) {
    SCOPED_TRACE(loss);
    Workspace w(golden);
    const Sites& sites = w.d.sites;
    const std::int64_t B = w.clean.B(), T = w.clean.T();
    const SourceLayout layout = make_layout(sites, B, T);
    const at::Tensor values = at::empty({layout.rows(), layout.columns}, w.importance.lower.options()),
                     gradient = at::zeros_like(values);
    RoutingDraw routing;
    if (loss == "stochastic_recon")
      routing.masks =
          at::empty({static_cast<std::int64_t>(sites.size()), B * T}, values.options().dtype(at::kByte));
    for (std::size_t i = 0; i < sites.size(); ++i) {
      site_columns(values, layout, i).copy_(golden.drawn("source/" + sites[i].name));
      if (routing.masks.defined())
        routing.masks[static_cast<std::int64_t>(i)].copy_(golden.drawn("routing/" + sites[i].name));
    }
    const bool drawn = loss == "stochastic_recon" || loss == "adversarial_recon";
    const SourceOf sources = drawn ? read_sources(layout, values, T, 0, SourceGradient{gradient})
                                   : constant_sources(loss == "unmasked_recon" ? 1.0 : 0.0, 0.0);
    const double N = static_cast<double>(B * T);
    const double value =
        reconstruct(w.context, sources, routing, 1.0 / N,
                    loss == "hidden_acts_recon" ? Comparison::hidden_acts : Comparison::output)
            .item<double>() /
        N;
    EXPECT_LE(relative_error(value, golden.number("losses", loss)), tolerance(1e-5));
    w.finish();
    w.expect_gradients(golden, loss, tolerance(5e-5));
    for (std::size_t i = 0; drawn && i < sites.size(); ++i) {
      EXPECT_LE(relative_error(site_columns(gradient, layout, i),
                               golden.value("grad/" + loss + "/source/" + sites[i].name)),
                tolerance(5e-5))
          << sites[i].name;
    }
  }
}

TEST_P(Golden, FaithfulnessAndGradients) {
  const GoldenCase golden = golden_case();
  Workspace w(golden);
  const double entries = static_cast<double>(w.d.sites.entries());
  double value = 0.0;
  for (std::size_t i = 0; i < w.d.sites.size(); ++i) {
    value += squared_delta(w.d, i, 1.0 / entries, w.components.V(i).gradient, w.components.U(i).gradient)
                 .item<double>();
  }
  EXPECT_LE(relative_error(value / entries, golden.number("losses", "faithfulness")), tolerance(1e-5));
  w.expect_gradients(golden, "faithfulness", tolerance(5e-5));
}

TEST_P(Golden, MinimalityAndGradients) {
  const GoldenCase golden = golden_case();
  const double p = golden.expected.at("p").get<double>(), eps = golden.expected.at("eps").get<double>();
  for (const std::string loss : {"importance_minimality", "frequency_minimality"}) {
    SCOPED_TRACE(loss);
    Workspace w(golden);
    const std::int64_t N = w.clean.N();
    const at::Tensor sums = penalty_sums(w.importance.z.detach(), {.p = p, .eps = eps});
    const bool importance = loss == "importance_minimality";
    const at::Tensor value = importance ? importance_minimality(sums, N) : frequency_minimality(sums, N);
    EXPECT_LE(relative_error(value.item<double>(), golden.number("losses", loss)), tolerance(1e-5));
    const MinimalitySum power{.penalty = {.p = p, .eps = eps},
                              .importance_coefficient = importance ? 1.0 : 0.0,
                              .frequency_coefficient = importance ? 0.0 : 1.0};
    w.finish({minimality_gradient(power, sums, N)});
    w.expect_gradients(golden, loss, tolerance(1e-2));
  }
}

/// The run of config.yaml. In float32 the case `plain` hangs on its first step: one entry of a gradient is of
/// rounding's size, 1e-9 beside 0.1, and Adam makes a whole step of its sign. Sums in another order turn it,
/// those of oneDNN on a processor without AVX512 among them, whereupon the adversarial loss is 5e-4 off in
/// later steps, and 2 % of the sources are more than 0.01 off. Only there do wider bounds hold, twice that;
/// float64 shows that the mathematics is right.
void expect_training(GoldenCase golden, int lane_count, bool single) {
#if defined(__x86_64__)
  const bool turned = !__builtin_cpu_supports("avx512f");
#else
  const bool turned = true;
#endif
  Lanes lanes(lane_count);
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  TrainingStep step(golden.decomposition, golden.config, data.sequence_length, lanes);
  const std::int64_t B = golden.config.training.batch_size;
  const nlohmann::json& steps = golden.expected.at("training");
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const StepResult result =
        step.run(tokens.batch(static_cast<std::int64_t>(s) * B, B), static_cast<std::int64_t>(s));
    const auto expect = [&](const char* name, const at::Tensor& actual, double float32) {
      EXPECT_LE(relative_error(actual.item<double>(), steps[s].at(name).get<double>()),
                single ? float32 : 1e-6)
          << name << " of step " << s;
    };
    ASSERT_EQ(result.labels.size(), 5u);
    expect("faithfulness", result.losses[0], 1e-5);
    expect("importance", result.losses[1], 2e-4);
    expect("frequency", result.losses[2], 2e-4);
    expect("ci_masked", result.losses[3], 2e-4);
    expect("adversarial", result.losses[4], 1e-3);
    expect("total", result.total, turned ? 5e-4 : 2e-4);
    expect("grad_norm_components", result.components_norm, turned ? 2e-3 : 1e-3);
    expect("grad_norm_ci", result.causal_importance_norm, 2e-2);
  }
  const Decomposition& d = golden.decomposition;
  const SafetensorsFile components(golden.directory / "final/decomposition.safetensors"),
      ci(golden.directory / "final/causal_importance.safetensors");
  for (std::size_t i = 0; i < d.components.size(); ++i) {
    const std::string& name = d.components.spec(i).name;
    EXPECT_LE(relative_error(d.components.value(i), components.load(name)),
              single ? turned ? 5e-4 : 2e-4 : 1e-6)
        << name;
  }
  for (std::size_t i = 0; i < d.ci_parameters.size(); ++i) {
    const std::string& name = d.ci_parameters.spec(i).name;
    EXPECT_LE(relative_error(d.ci_parameters.value(i), ci.load(name)), single ? turned ? 1e-2 : 5e-3 : 1e-6)
        << name;
  }
  const SafetensorsFile sources(golden.directory / "final/sources.safetensors");
  double off = 0.0, all = 0.0;
  for (const auto& [name, value] : step.state()) {
    const std::string prefix = "adversary/adversarial_recon/source/";
    if (!name.starts_with(prefix)) continue;
    const at::Tensor difference =
        (value.to(at::kDouble) - sources.load(name.substr(prefix.size())).to(at::kDouble)).abs();
    off += difference.gt(single ? turned ? 1e-2 : 1e-3 : 1e-6).sum().item<double>();
    all += static_cast<double>(difference.numel());
  }
  EXPECT_GT(all, 0.0);
  EXPECT_LE(off / all, single ? turned ? 0.04 : 0.03 : 0.0);
}

TEST_P(Golden, Training) { expect_training(golden_case(), 1, single()); }

/// Lanes divide a CPU.
class GoldenInLanes : public Golden {};

TEST_P(GoldenInLanes, Training) { expect_training(golden_case(), 2, single()); }

std::vector<Parameters> cases(std::initializer_list<at::DeviceType> devices) {
  std::vector<Parameters> all;
  for (const char* name : {"plain", "grouped"})
    for (const at::ScalarType type : {at::kFloat, at::kDouble})
      for (const at::DeviceType device : devices) all.push_back({name, type, device});
  return all;
}

std::string case_name(const ::testing::TestParamInfo<Parameters>& one) {
  return std::string(one.param.name) + (one.param.type == at::kFloat ? "_float32" : "_float64") +
         (one.param.device == at::kCUDA ? "_cuda" : "");
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, ::testing::ValuesIn(cases({at::kCPU, at::kCUDA})), case_name);
INSTANTIATE_TEST_SUITE_P(Cases, GoldenInLanes, ::testing::ValuesIn(cases({at::kCPU})), case_name);

}  // namespace
}  // namespace vpd::testing
