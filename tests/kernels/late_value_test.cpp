// Numbers that kernels read when they run give what the same numbers at the launch give.

#include "vpd/kernels/late_value.hpp"

#include <ATen/ATen.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/kernels/routing.hpp"
#include "vpd/kernels/squash.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

constexpr RandomKey now_key{0x12345678u, 0x9abcdef0u};

class LateValueTest : public DeviceTest {
 protected:
  /// The number in the device's memory; the value that a launch would carry is a wrong one.
  LateNumber late(double number) {
    storage_.push_back(at::full({1}, number, at::kDouble).to(device()));
    return {-1e30, storage_.back().const_data_ptr<double>()};
  }
  LateKey late(RandomKey k) {
    const auto bits = static_cast<std::int64_t>(static_cast<std::uint64_t>(k.high) << 32 | k.low);
    storage_.push_back(at::full({1}, bits, at::kLong).to(device()));
    return {RandomKey{}, static_cast<const RandomKey*>(storage_.back().const_data_ptr())};
  }

 private:
  std::vector<at::Tensor> storage_;
};

TEST_P(LateValueTest, KeysOfDraws) {
  at::Tensor now = broad(at::zeros({5, 37})), later = broad(at::zeros({5, 37}));
  fill_uniform(now, now_key, 3);
  fill_uniform(later, late(now_key), 3);
  expect_identical(later, now, "uniform draws");
  expect_identical(draw_subset_routing(late(now_key), 6, 33, 2, device()),
                   draw_subset_routing(now_key, 6, 33, 2, device()), "subset routing");
  expect_identical(draw_static_routing(late(now_key), 0.3, 6, 33, 2, device()),
                   draw_static_routing(now_key, 0.3, 6, 33, 2, device()), "static routing");
  expect_identical(draw_static_routing(now_key, late(0.3), 6, 33, 2, device()),
                   draw_static_routing(now_key, 0.3, 6, 33, 2, device()), "its probability");
}

TEST_P(LateValueTest, KeysOfMasks) {
  const at::Tensor h = real(uniform_values({9, 70}, 1)), g = broad(uniform_values({9, 70}, 2, 0.0, 1.0));
  const at::Tensor gradient = real(uniform_values({9, 70}, 3));
  for (const SourceDistribution drawn : {SourceDistribution::uniform, SourceDistribution::binomial}) {
    const GateSources now{DrawnSources{drawn, now_key, 4, 7}},
        later{DrawnSources{drawn, late(now_key), 4, 7}};
    const GateOutput a = gate_forward(h, g, now, {}), b = gate_forward(h, g, later, {});
    expect_identical(b.gated, a.gated, "gated");
    expect_identical(b.scale, a.scale, "scale");
    const at::Tensor da = at::zeros_like(g), db = at::zeros_like(g);
    expect_identical(gate_backward(gradient, h, g, later, {}, {}, db, false).h,
                     gate_backward(gradient, h, g, now, {}, {}, da, false).h, "dh");
    expect_identical(db, da, "dg");
  }
}

TEST_P(LateValueTest, NumbersOfAscents) {
  const at::Tensor start = broad(uniform_values({11, 13}, 1, 0.0, 1.0)),
                   d = broad(uniform_values({11, 13}, 2));
  AscentRule now{.rate = 0.03, .unbias1 = bias_correction(0.5, 3), .unbias2 = bias_correction(0.99, 3)};
  AscentRule later = now;
  later.rate = late(0.03);
  later.unbias1 = late(now.unbias1.value), later.unbias2 = late(now.unbias2.value);
  for (const bool adam : {true, false}) {
    now.adam = later.adam = adam;
    const at::Tensor a = start.clone(), b = start.clone(), ma = at::zeros_like(a), va = at::zeros_like(a),
                     mb = at::zeros_like(a), vb = at::zeros_like(a);
    ascend(a, d, ma, va, now);
    ascend(b, d, mb, vb, later);
    expect_identical(b, a, "sources");
    expect_identical(vb, va, "second moments");
  }
}

TEST_P(LateValueTest, NumbersOfPenalties) {
  const at::Tensor z = broad(uniform_values({70, 19}, 1, -0.5, 1.5)),
                   lower = broad(uniform_values({70, 19}, 2));
  for (const PenaltyKind kind : {PenaltyKind::power, PenaltyKind::smooth_l0}) {
    const Penalty penalty{.kind = kind, .p = 0.7, .eps = 1e-12, .gamma = 0.3};
    Penalty late_penalty = penalty;
    late_penalty.p = late(0.7), late_penalty.gamma = late(0.3);
    expect_identical(penalty_sums(z, late_penalty), penalty_sums(z, penalty), "sums");
    const PenaltyGradient now{at::ones({19}, z.options().dtype(at::kDouble)), penalty};
    PenaltyGradient later = now;
    later.penalty = late_penalty;
    expect_identical(squash_backward(z, lower, &later, 1), squash_backward(z, lower, &now, 1), "dz");
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, LateValueTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})), device_case_name);

}  // namespace
}  // namespace vpd
