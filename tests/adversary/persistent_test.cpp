#include "vpd/adversary/persistent.hpp"

#include <set>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd::testing {
namespace {

class Pool : public DeviceTest {
 protected:
  static constexpr std::int64_t B = 5, T = 3, K = 4;
  static PersistentAdversaryConfig pool_of_four() { return {.scope = PersistentScope::pooled, .sources = K}; }
  PersistentAdversary make(const PersistentAdversaryConfig& config = pool_of_four()) const {
    return PersistentAdversary(config, sites_, B, T, {device(), dtype(), dtype()}, /*seed=*/3, /*term=*/1);
  }
  static RandomKey key(std::uint64_t step) { return make_key(3, RandomPurpose::pooled_sources, step, 1); }

  /// State of the pool, [B K, columns], by kind.
  static at::Tensor part(const NamedTensors& state, const std::string& kind) {
    std::vector<at::Tensor> sites;
    for (const auto& [name, value] : state) {
      if (name.starts_with(kind + "/")) sites.push_back(value.cpu().to(at::kDouble).reshape({B * K, -1}));
    }
    return at::cat(sites, 1);
  }
  static at::Tensor ascents(const NamedTensors& state) { return state.back().second.cpu().reshape({B * K}); }

  /// One step: `ascents` ascents along `gradient` [B, columns].
  void climb(PersistentAdversary& adversary, std::uint64_t step, const at::Tensor& gradient, int ascents) {
    adversary.begin_step(key(step));
    const at::Tensor whole = adversary.make_gradient();
    copy_channels(whole, adversary.layout(), gradient);
    for (int a = 0; a < ascents; ++a) {
      // In two parts, as two lanes do.
      adversary.ascend(whole, 0, 2, adversary.rule(0.05, 1));
      adversary.ascend(whole, 2, B, adversary.rule(0.05, 1));
    }
    adversary.end_step();
  }

  Sites sites_ = Sites({{.name = "a", .matrix = 0, .d_in = 2, .d_out = 2, .C = 3},
                        {.name = "b", .matrix = 1, .d_in = 2, .d_out = 2, .C = 2}},
                       2);
  const std::int64_t columns_ = 3 + 2 + 2;
};

TEST_P(Pool, AStepClimbsOneSourceARowAndLeavesTheOthers) {
  PersistentAdversary adversary = make();
  EXPECT_TRUE(adversary.local());
  EXPECT_EQ(adversary.layout().rows(), B);
  const at::Tensor gradient = real(uniform_values({B, columns_}, 1, 0.5, 1.0));
  const NamedTensors before = adversary.state(sites_);
  const at::Tensor old_values = part(before, "source").clone();
  climb(adversary, 0, gradient, 2);
  const NamedTensors after = adversary.state(sites_);
  const at::Tensor moved = part(after, "source").ne(old_values).any(1), count = ascents(after);
  for (std::int64_t b = 0; b < B; ++b) {
    EXPECT_EQ(count.narrow(0, b * K, K).ne(0).sum().item<std::int64_t>(), 1) << "row " << b;
    EXPECT_EQ(count.narrow(0, b * K, K).sum().item<double>(), 2.0) << "row " << b;
  }
  EXPECT_TRUE(moved.equal(count.ne(0)));
}

TEST_P(Pool, EachSourceClimbsAsIfItWereAlone) {
  PersistentAdversary adversary = make();
  const at::Tensor start = part(adversary.state(sites_), "source").clone();
  at::Tensor x = start.clone(), m = at::zeros_like(x), v = at::zeros_like(x);
  std::vector<double> t(B * K, 0.0);
  for (std::uint64_t step = 0; step < 12; ++step) {
    const at::Tensor gradient =
        real(uniform_values({B, columns_}, 30 + step, 0.5, 1.0) * uniform_values({B, columns_}, 50).sign());
    const at::Tensor before = ascents(adversary.state(sites_)).clone();
    climb(adversary, step, gradient, 2);
    const at::Tensor drawn = ascents(adversary.state(sites_)).gt(before);
    for (std::int64_t row = 0; row < B * K; ++row) {
      if (!drawn[row].item<bool>()) continue;
      const at::Tensor d = gradient[row / K].to(at::kCPU, at::kDouble);
      for (int a = 0; a < 2; ++a) {
        auto& count = t[static_cast<std::size_t>(row)];
        ++count;
        m[row] = 0.5 * m[row] + 0.5 * d;
        v[row] = 0.99 * v[row] + 0.01 * d.square();
        x[row] = (x[row] + 0.05 * (m[row] / (1 - std::pow(0.5, count))) /
                               ((v[row] / (1 - std::pow(0.99, count))).sqrt() + 1e-8))
                     .clamp(0.0, 1.0);
      }
    }
  }
  const NamedTensors state = adversary.state(sites_);
  expect_close(part(state, "source"), x, {0.0, 2000 * epsilon(dtype())}, "sources");
  expect_close(part(state, "m"), m, {0.0, 100 * epsilon(dtype())}, "m");
}

TEST_P(Pool, EverySourceHasItsTurn) {
  PersistentAdversary adversary = make();
  const at::Tensor gradient = real(at::zeros({B, columns_}));
  const int steps = 400;
  for (std::uint64_t step = 0; step < steps; ++step) climb(adversary, step, gradient, 1);
  const at::Tensor count = ascents(adversary.state(sites_));
  const double expected = static_cast<double>(steps) / K, deviation = std::sqrt(expected * (1.0 - 1.0 / K));
  EXPECT_EQ(count.sum().item<double>(), steps * B);
  EXPECT_LT((count - expected).abs().max().item<double>(), 5 * deviation);
}

TEST_P(Pool, ComesBackFromAFile) {
  const TemporaryDirectory directory;
  const at::Tensor gradient = real(uniform_values({B, columns_}, 1));
  PersistentAdversary made = make(), other = make();
  for (std::uint64_t step = 0; step < 3; ++step) climb(made, step, gradient, 2);
  NamedTensors saved;
  for (const auto& [name, value] : made.state(sites_)) saved.emplace_back("x/" + name, value.cpu());
  save_safetensors(directory / "state.safetensors", saved);
  other.load(SafetensorsFile(directory / "state.safetensors"), "x/", sites_);
  for (std::uint64_t step = 3; step < 9; ++step) {
    climb(made, step, gradient, 2);
    climb(other, step, gradient, 2);
  }
  const NamedTensors expected = made.state(sites_), found = other.state(sites_);
  ASSERT_EQ(found.size(), expected.size());
  // Sources are saved as float32: those of float32 come back as they were.
  const Tolerance tolerance{0.0, dtype() == at::kDouble ? 1000 * epsilon(at::kFloat) : 0.0};
  for (std::size_t i = 0; i < found.size(); ++i)
    expect_close(found[i].second, expected[i].second, tolerance, expected[i].first);
}

TEST_P(Pool, SignStepsNeedNoCounts) {
  PersistentAdversaryConfig config = pool_of_four();
  config.optimizer = SignAscentConfig{};
  config.init = ConstantInitConfig{.value = 0.5};
  PersistentAdversary adversary = make(config);
  climb(adversary, 0, real(at::ones({B, columns_})), 1);
  const at::Tensor values = part(adversary.state(sites_), "source");
  EXPECT_EQ(values.gt(0.52).sum().item<std::int64_t>(), B * columns_);
  EXPECT_EQ(values.eq(0.5).sum().item<std::int64_t>(), B * (K - 1) * columns_);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Pool, ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})),
                         device_case_name);

}  // namespace
}  // namespace vpd::testing
