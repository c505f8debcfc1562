// Sources that climb in the backward pass of the gate.

#include <ATen/ATen.h>

#include "gate_case.hpp"
#include "vpd/kernels/gate.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class GateAscentTest : public GateCase {
 protected:
  void check_climbing(bool adam, double factor) {
    const at::Tensor start = leaf(values()).detach();
    const auto moment = [&](std::uint64_t seed, double low) {
      const at::Tensor x = broad(uniform_values(start.sizes(), seed, low, 1.0));
      return values().stride(0) == C_ + 1 ? x : column_slice(x);
    };
    const at::Tensor m = moment(10, -1.0), v = moment(11, 0.1), exact_m = leaf(m).detach(),
                     exact_v = leaf(v).detach();
    read().destination = SourceAscent{
        {.adam = adam, .eps = 1e-8, .rate = 0.125, .unbias1 = 1.5, .unbias2 = 2.5}, m, v, factor};
    const at::Tensor d = check_backward_pass() * factor, new_m = 0.5 * exact_m + 0.5 * d,
                     new_v = 0.99 * exact_v + 0.01 * d.square();
    const at::Tensor moved =
        start + (adam ? 0.125 * (1.5 * new_m) / ((2.5 * new_v).sqrt() + 1e-8) : 0.125 * d.sign());
    const auto after = [&](const at::Tensor& climbed, const at::Tensor& still) {
      return at::where(met(), climbed, still).to(wide());
    };
    const double roundings = 64.0 + static_cast<double>(C_);  // of δ's gradient, a sum over the row
    if (adam) {
      expect_close(m, after(new_m, exact_m), computed(roundings), "m");
      expect_close(v, after(new_v, exact_v), computed(roundings), "v");
      expect_close(values(), after(moved.clamp(0.0, 1.0), start), computed(roundings), "sources");
    } else {
      // Where the sum that δ's gradient is cancels, rounding decides its sign.
      const at::Tensor clear = d.abs().gt(1e-4) | d.eq(0.0);
      EXPECT_GT(clear.to(at::kDouble).mean().item<double>(), 0.9);
      const at::Tensor found = values().to(at::kCPU, at::kDouble),
                       wanted = after(moved.clamp(0.0, 1.0), start).to(at::kDouble);
      expect_close(at::where(clear, found, wanted).to(wide()), wanted.to(wide()), computed(), "sources");
    }
    if (values().stride(0) != C_ + 1) {
      for (const at::Tensor& x : {values(), m, v}) EXPECT_TRUE(surroundings_are_untouched(x));
    }
  }
};

// One ascent along dL/dr, which is 0 where routing is off and where a position draws its own.
TEST_P(GateAscentTest, SourcesClimbInTheBackwardPass) {
  for (const bool adam : {true, false}) {
    for_each_case([&] {
      if (has_matrix() && !rows_are_shared()) check_climbing(adam, -0.5);
    });
  }
}

// Those of positions that are not listed move on with their momentum.
TEST_P(GateAscentTest, SourcesClimbBesideListedPositionsAsWithinTheWhole) {
  for (const bool adam : {true, false}) {
    for_each_case([&] {
      if (!has_matrix() || rows_are_shared() || !routing_.defined()) return;
      const GateRouting at_positions = listed(/*none=*/1);
      const auto gathered = [&](const at::Tensor& x) { return rows_at(at_positions, x); };
      const auto copy = [](const at::Tensor& x) { return at::empty(x.sizes(), x.options()).copy_(x); };
      const at::Tensor start = copy(values());
      GateSources part = sources_;
      ReadSources &of_whole = read(), &of_part = read_of(part);
      for (ReadSources* sources : {&of_whole, &of_part}) {
        sources->values = copy(start);
        sources->destination =
            SourceAscent{{.adam = adam, .eps = 1e-8, .rate = 0.125, .unbias1 = 1.5, .unbias2 = 2.5},
                         start * 0.5,
                         start * 0.25};
      }
      gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false);
      gate_backward(gathered(dgated_), gathered(h_), g_, part, at_positions, gathered(dscale_), {}, false);
      const auto &whole_climb = std::get<SourceAscent>(of_whole.destination),
                 &part_climb = std::get<SourceAscent>(of_part.destination);
      expect_identical(of_part.values, of_whole.values, "sources");
      expect_identical(part_climb.m, whole_climb.m, "m");
      expect_identical(part_climb.v, whole_climb.v, "v");
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GateAscentTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

}  // namespace
}  // namespace vpd
