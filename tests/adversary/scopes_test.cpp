// Sources of fresh and of persistent adversaries, with values that are clamped and values that a sigmoid
// bounds.

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/adversary/fresh.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

class Scopes : public DeviceTest {
 protected:
  static constexpr std::int64_t B = 3, T = 4, channels = 3 + 1 + 2 + 1;
  Numerics numerics() const { return {device(), dtype(), dtype()}; }
  PersistentAdversary make(const PersistentAdversaryConfig& config) const {
    return PersistentAdversary(config, sites_, B, T, numerics(), /*seed=*/5, /*term=*/2);
  }
  /// Sources in [0, 1] as a pass reads them.
  at::Tensor sources(const PersistentAdversary& adversary) const {
    const SourceOf use = adversary.use(0, B, T, adversary.make_gradient(), 1.0, false);
    return at::cat({use(0).read()->values, use(1).read()->values}, 1).cpu().to(at::kDouble);
  }
  at::Tensor without_gaps(const at::Tensor& values) const {
    const SourceLayout layout = make_layout(sites_, 1, 1);
    return at::cat({site_columns(values, layout, 0), site_columns(values, layout, 1)}, 1)
        .cpu()
        .to(at::kDouble);
  }
  /// On the device, in a layout's columns.
  at::Tensor with_gaps(const at::Tensor& values) const {
    const SourceLayout layout = make_layout(sites_, 1, 1);
    const at::Tensor all = real(at::zeros({values.size(0), layout.columns}));
    copy_channels(all, layout, real(values));
    return all;
  }
  at::Tensor drawn(std::int64_t rows, std::uint64_t seed) const {
    return real(uniform_values({rows, channels}, seed)).cpu().to(at::kDouble);
  }
  LateKey key() const { return LateKey(make_key(5, RandomPurpose::fresh_sources, 0, 0)); }

  Sites sites_ = Sites({{.name = "a", .matrix = 0, .d_in = 2, .d_out = 2, .C = 3},
                        {.name = "b", .matrix = 1, .d_in = 2, .d_out = 2, .C = 2}},
                       2);
};

TEST_P(Scopes, EachHasItsRows) {
  const auto rows = [&](const PersistentAdversaryConfig& config) { return make(config).layout().rows(); };
  EXPECT_EQ(rows({.scope = PersistentScope::per_position}), B * T);
  EXPECT_EQ(rows({.scope = PersistentScope::shared_across_batch}), T);
  EXPECT_EQ(rows({.scope = PersistentScope::shared_across_batch, .shared_across_positions = true}), 1);
  EXPECT_EQ(rows({.scope = PersistentScope::n_sources, .sources = 2}), 2 * T);
  EXPECT_EQ(rows({.scope = PersistentScope::pooled, .sources = 2}), B);
}

TEST_P(Scopes, OnlyClampedOnesOfEachPositionClimbInAPass) {
  for (const PersistentAdversaryConfig& config :
       {PersistentAdversaryConfig{.scope = PersistentScope::shared_across_batch},
        PersistentAdversaryConfig{.scope = PersistentScope::pooled, .sources = 2},
        PersistentAdversaryConfig{.parametrization = SourceParametrization::sigmoid}}) {
    const PersistentAdversary adversary = make(config);
    EXPECT_FALSE(climbs_in_pass(config, AllRoutingConfig{}));
    EXPECT_THROW(adversary.climb_in_pass(0, T, 1.0, adversary.rule(0.1, 1)), UsageError);
  }
  const PersistentAdversary adversary = make({});
  EXPECT_TRUE(climbs_in_pass({}, AllRoutingConfig{}));
  EXPECT_FALSE(climbs_in_pass({}, LayerwiseRoutingConfig{}));
  const GateSources sources = adversary.climb_in_pass(1, T, -2.0, adversary.rule(0.25, 3))(1);
  EXPECT_EQ(sources.read()->first_batch, 1);
  const auto* ascent = std::get_if<SourceAscent>(&sources.read()->destination);
  ASSERT_NE(ascent, nullptr);
  EXPECT_EQ(ascent->m.sizes(), sources.read()->values.sizes());
  EXPECT_EQ(ascent->scale, -2.0);
  EXPECT_TRUE(ascent->rule.adam && ascent->rule.clamp);
  EXPECT_EQ(ascent->rule.rate.get(), 0.25);
  EXPECT_EQ(ascent->rule.unbias1.get(), 1.0 / (1.0 - 0.125));
  EXPECT_THROW(adversary.climb_in_pass(0, T + 1, 1.0, adversary.rule(0.1, 1)), UsageError);
}

TEST_P(Scopes, ASigmoidsValueClimbsByTheChainRule) {
  for (const PersistentScope scope : {PersistentScope::per_position, PersistentScope::shared_across_batch}) {
    for (const bool adam : {true, false}) {
      PersistentAdversaryConfig config{.scope = scope, .parametrization = SourceParametrization::sigmoid};
      if (!adam) config.optimizer = SignAscentConfig{};
      PersistentAdversary adversary = make(config);
      const std::int64_t rows = adversary.layout().rows();
      // What is held is unbounded: its logit gives it back.
      at::Tensor x = sources(adversary).logit(), m = at::zeros_like(x), v = at::zeros_like(x);
      for (int step = 1; step <= 6; ++step) {
        const at::Tensor a = drawn(rows, 40 + static_cast<std::uint64_t>(step));
        const at::Tensor leaf = x.clone().requires_grad_(true);
        (leaf.sigmoid() * a).sum().backward();
        const at::Tensor slope = leaf.grad();
        if (adam) {
          m = 0.5 * m + 0.5 * slope;
          v = 0.99 * v + 0.01 * slope.square();
          x = x + 0.3 * (m / (1 - std::pow(0.5, step))) / ((v / (1 - std::pow(0.99, step))).sqrt() + 1e-8);
        } else {
          x = x + 0.3 * slope.sign();
        }
        adversary.ascend(with_gaps(a), 0, rows, adversary.rule(0.3, step));
        // A source near 0 or 1 keeps fewer digits of its logit: compare sources, not what is held.
        expect_close(sources(adversary), x.sigmoid(), {0.0, 500 * epsilon(dtype())}, "sources");
      }
    }
  }
}

TEST_P(Scopes, ASigmoidStartsWhereItIsTold) {
  PersistentAdversaryConfig config{.parametrization = SourceParametrization::sigmoid};
  config.init = ConstantInitConfig{.value = 0.3};
  expect_close(sources(make(config)), at::full({B * T, channels}, 0.3, at::kDouble),
               {0.0, 8 * epsilon(dtype())}, "sources");
  // Else the sigmoid of N(0, 1): the logits' mean and variance, within five deviations of their spread.
  config.init = UniformInitConfig{};
  const at::Tensor logits = sources(make(config)).logit();
  const double n = static_cast<double>(logits.numel());
  EXPECT_NEAR(logits.mean().item<double>(), 0.0, 5.0 / std::sqrt(n));
  EXPECT_NEAR(logits.square().mean().item<double>(), 1.0, 5.0 * std::sqrt(2.0 / n));
}

TEST_P(Scopes, FreshSourcesClimbTheSignAndStayWithinTheirBounds) {
  for (const FreshScope scope : {FreshScope::shared_across_batch, FreshScope::per_datapoint}) {
    for (const FreshInit init : {FreshInit::zeros, FreshInit::ones, FreshInit::random}) {
      FreshSources fresh = start_fresh({.init = init, .scope = scope}, sites_, B, T, key(), numerics());
      const bool own = scope == FreshScope::per_datapoint;
      const std::int64_t rows = own ? B * T : 1;
      ASSERT_EQ(fresh.values.sizes(), at::IntArrayRef({rows, 2 * source_alignment}));
      const GateSources sources = use_fresh(fresh, 0, T)(0);
      EXPECT_EQ(sources.read()->batch_rows, own ? B : 1);
      EXPECT_EQ(sources.read()->time_rows, own ? T : 1);
      at::Tensor expected = without_gaps(fresh.values);
      if (init == FreshInit::zeros) {
        EXPECT_EQ(expected.abs().max().item<double>(), 0.0);
      }
      if (init == FreshInit::ones) {
        EXPECT_EQ(expected.min().item<double>(), 1.0);
      }
      for (std::uint64_t step = 0; step < 5; ++step) {
        const at::Tensor gradient = drawn(rows, 60 + step);
        fresh.gradient.copy_(with_gaps(gradient));
        step_fresh(fresh, 0.25);
        expected = (expected + 0.25 * gradient.sign()).clamp(0.0, 1.0);
        expect_close(without_gaps(fresh.values), expected, {0.0, 8 * epsilon(dtype())}, "sources");
        EXPECT_EQ(fresh.gradient.abs().max().item<double>(), 0.0);
      }
    }
  }
}

TEST_P(Scopes, EverySiteBeginsOnAnAlignedColumnAndGapsDoNotChangeDraws) {
  const SourceLayout layout = make_layout(sites_, B, T);
  ASSERT_EQ(layout.sites.size(), 2u);
  EXPECT_EQ(layout.channels(), channels);
  EXPECT_EQ(layout.columns % source_alignment, 0);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(layout.sites[i].begin % source_alignment, 0);
    EXPECT_EQ(layout.sites[i].size(), sites_[i].C + 1);
  }
  const at::Tensor values = real(at::zeros({layout.rows(), layout.columns})),
                   plain = real(at::zeros({layout.rows(), channels}));
  draw_sources(values, layout, key(), 11);
  fill_uniform(plain, key(), 11);
  expect_identical(without_gaps(values), plain.cpu().to(at::kDouble), "draws");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Scopes, ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})),
                         device_case_name);

}  // namespace
}  // namespace vpd::testing
