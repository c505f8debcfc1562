// The random sources that the gate draws.

#include <cmath>

#include <ATen/ATen.h>

#include "gate_case.hpp"
#include "vpd/kernels/gate.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class GateDrawsTest : public GateCase {};

// With h = 1 and g = 0 the output is r itself: the same bits on every device, in every dtype that holds them.
TEST_P(GateDrawsTest, DrawsAreThoseOfTheirCounters) {
  if (dtype() == at::kBFloat16) GTEST_SKIP() << "bfloat16 does not hold 24 bits";
  for (const From from : {From::uniform, From::binomial}) {
    for (const std::int64_t C : {1, 3, 4, 63, 64, 67, 259}) {
      for (const std::int64_t first_row : {std::int64_t{0}, (std::int64_t{1} << 32) - 2}) {
        GateSources sources{DrawnSources{distribution(from), key, site, first_row}};
        const at::Tensor h = real(at::ones({5, C})), g = broad(at::zeros({5, C}));
        const at::Tensor expected = drawn(from, 5, C, first_row);
        expect_identical(gate_forward(h, g, sources, {}).scale, expected.select(1, C).to(wide()), "delta");
        sources.fixed_delta = 0.0;
        expect_identical(gate_forward(h, g, sources, {}).gated, expected.narrow(1, 0, C).to(dtype()), "r");
      }
    }
  }
}

TEST_P(GateDrawsTest, PartsOfTheBatchDrawWhatTheWholeDraws) {
  prepare({7, 3, 37}, {"uniform", From::uniform}, true, std::nullopt, false);
  for (const From from : {From::uniform, From::binomial}) {
    auto& draws = std::get<DrawnSources>(sources_.from);
    draws.distribution = distribution(from);
    draws.first_row = 5;
    const GateOutput whole = gate_forward(h_, g_, sources_, routing_);
    for (const std::int64_t split : {1, 8, 20}) {
      std::vector<at::Tensor> gated, scale;
      for (const auto& [begin, count] : {std::pair{std::int64_t{0}, split}, std::pair{split, 21 - split}}) {
        draws.first_row = 5 + begin;
        const GateOutput part = gate_forward(h_.narrow(0, begin, count), g_.narrow(0, begin, count), sources_,
                                             routing_.narrow(0, begin, count));
        gated.push_back(part.gated), scale.push_back(part.scale);
      }
      expect_identical(at::cat(gated), whole.gated, "gated");
      expect_identical(at::cat(scale), whole.scale, "scale");
    }
  }
}

TEST_P(GateDrawsTest, SitesAndKeysDrawDifferently) {
  GateSources sources{DrawnSources{.key = key}};
  auto& draws = std::get<DrawnSources>(sources.from);
  const at::Tensor h = real(at::ones({2, 32})), g = broad(at::zeros({2, 32}));
  const at::Tensor first = gate_forward(h, g, sources, {}).gated;
  draws.site = 1;
  EXPECT_FALSE(at::equal(first, gate_forward(h, g, sources, {}).gated));
  draws.site = 0, draws.key.value.high ^= 1;
  EXPECT_FALSE(at::equal(first, gate_forward(h, g, sources, {}).gated));
}

TEST_P(GateDrawsTest, UniformDrawsHaveUniformMoments) {
  if (dtype() != at::kFloat) GTEST_SKIP() << "the draws of all dtypes are the same";
  const std::int64_t N = 400, C = 501;
  const double count = static_cast<double>(N * C);
  GateSources sources{DrawnSources{.key = key}, /*fixed_delta=*/0.0};
  const at::Tensor h = real(at::ones({N, C})), g = broad(at::zeros({N, C}));
  const at::Tensor u = gate_forward(h, g, sources, {}).gated.to(at::kCPU, at::kDouble);
  // Five standard deviations of the mean and of the second moment of U(0,1).
  EXPECT_NEAR(u.mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12.0 / count));
  EXPECT_NEAR(u.square().mean().item<double>(), 1.0 / 3.0, 5 * std::sqrt(4.0 / 45.0 / count));
  EXPECT_NEAR((u.narrow(1, 1, C - 1) * u.narrow(1, 0, C - 1)).mean().item<double>(), 0.25,
              5 * std::sqrt(7.0 / 144.0 / count));
  std::get<DrawnSources>(sources.from).distribution = SourceDistribution::binomial;
  EXPECT_NEAR(gate_forward(h, g, sources, {}).gated.to(at::kDouble).mean().item<double>(), 0.5,
              5 * std::sqrt(0.25 / count));
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GateDrawsTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
