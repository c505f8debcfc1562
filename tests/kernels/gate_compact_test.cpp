// Sources and moments kept in 16 bits, in the gate.

#include <ATen/ATen.h>

#include "errors.hpp"
#include "gate_case.hpp"
#include "vpd/kernels/gate.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

constexpr double level = 1.0 / 32767.0;

class GateCompactTest : public GateCase {
 protected:
  /// Columns 8 to C + 9 of a matrix [R, C + 20] that is `around` elsewhere, or, unless strided, x itself.
  at::Tensor laid_out(const at::Tensor& x, double around, bool strided) const {
    if (!strided) return x;
    const at::Tensor whole = at::full({x.size(0), C_ + 20}, around, x.options());
    const at::Tensor part = whole.narrow(1, 8, C_ + 1);
    part.copy_(x);
    return part;
  }
  static bool untouched_around(const at::Tensor& part, double around) {
    const at::Tensor whole =
        part.as_strided({part.size(0), part.stride(0)}, {part.stride(0), 1}, part.storage_offset() - 8);
    return whole.narrow(1, 0, 8).eq(around).all().item<bool>() &&
           whole.narrow(1, 8 + part.size(1), 11).eq(around).all().item<bool>();
  }

  /// Makes the sources of the case compact, with both ends among them.
  void make_compact(bool strided) {
    const at::Tensor levels = values().to(at::kCPU, at::kDouble).mul(32767.0).round();
    levels.view({-1})[0] = 0.0;
    levels.view({-1})[-1] = 32767.0;
    read().values = laid_out(levels.to(device(), at::kShort), -5.0, strided);
  }

  template <class Check>
  void for_each_compact_case(const Check& check) {
    for_each_case([&] {
      if (!has_matrix()) return;
      const bool strided = values().stride(0) != C_ + 1;
      make_compact(strided);
      check(strided);
    });
  }

  void check_climbing(bool adam, bool strided) {
    const at::Tensor start = source_leaf().detach();
    const auto moment = [&](std::uint64_t seed, double low) {
      const at::Tensor x = uniform_values(start.sizes(), seed, low, 1.0).to(device(), at::kBFloat16);
      return laid_out(x, 3.0, strided);
    };
    const at::Tensor m = moment(10, -1.0), v = moment(11, 0.1), exact_m = leaf(m).detach(),
                     exact_v = leaf(v).detach();
    read().destination =
        SourceAscent{{.adam = adam, .eps = 1e-8, .rate = 0.125, .unbias1 = 1.5, .unbias2 = 2.5}, m, v, -0.5};
    const at::Tensor d = check_backward_pass() * -0.5, new_m = 0.5 * exact_m + 0.5 * d,
                     new_v = 0.99 * exact_v + 0.01 * d.square();
    const at::Tensor moved =
        start + (adam ? 0.125 * (1.5 * new_m) / ((2.5 * new_v).sqrt() + 1e-8) : 0.125 * d.sign());
    const auto after = [&](const at::Tensor& climbed, const at::Tensor& still) {
      return at::where(met(), climbed, still);
    };
    // Half a level, and what float32 adds to it, of δ's gradient over a whole row.
    const double roundings = 64.0 + static_cast<double>(C_);
    const Tolerance half_level{0.0, 0.5 * level + roundings * 8.0 * epsilon(at::kFloat)};
    const at::Tensor found = source_leaf().detach(), wanted = after(moved.clamp(0.0, 1.0), start);
    if (adam) {
      expect_close(found, wanted, half_level, "sources");
      const Tolerance moments = rounding(at::kFloat, roundings, 8.0, at::kBFloat16);
      expect_close(m.to(at::kCPU, at::kDouble), after(new_m, exact_m), moments, "m");
      expect_close(v.to(at::kCPU, at::kDouble), after(new_v, exact_v), moments, "v");
    } else {
      const at::Tensor clear = d.abs().gt(1e-4) | d.eq(0.0);
      expect_close(at::where(clear, found, wanted), wanted, half_level, "sources");
    }
    if (!strided) return;
    EXPECT_TRUE(untouched_around(values(), -5.0));
    EXPECT_TRUE(untouched_around(m, 3.0) && untouched_around(v, 3.0));
  }
};

TEST_P(GateCompactTest, ForwardIsTheFormula) {
  for_each_compact_case([&](bool) {
    const GateOutput out = gate_forward(h_, g_, sources_, routing_);
    const Reference expected = reference(leaf(h_), leaf(g_), source_leaf().detach());
    expect_close(out.gated, expected.gated.detach().to(dtype()), stored(), "gated");
    if (out.scale.defined()) expect_close(out.scale, expected.scale.detach().to(wide()), computed(), "scale");
  });
}

TEST_P(GateCompactTest, SourcesClimbToTheNearestLevel) {
  for (const bool adam : {true, false}) {
    for_each_compact_case([&](bool strided) {
      if (!rows_are_shared()) check_climbing(adam, strided);
    });
  }
}

// Every level reads as itself, and climbing along nothing leaves it.
TEST_P(GateCompactTest, EveryLevelStays) {
  constexpr std::int64_t levels = 32768;
  const at::Tensor all = at::arange(levels, at::kShort).view({1, levels}).to(device()),
                   ones = real(at::ones({1, levels - 1})), zeros = broad(at::zeros({1, levels - 1}));
  const at::Tensor values = all.clone();
  expect_close(gate_forward(ones, zeros, {ReadSources{all}, /*fixed_delta=*/0.0}, {}).gated.to(at::kDouble),
               all.narrow(1, 0, levels - 1).to(at::kDouble) / 32767.0, rounding(at::kFloat, 2, 1.0, dtype()),
               "r");
  const GateSources climbing{
      ReadSources{.values = values, .destination = SourceAscent{{.adam = false, .rate = 0.125}, {}, {}}}};
  gate_backward(at::zeros_like(ones), ones, zeros, climbing, {}, broad(at::zeros({1})), {}, false);
  expect_identical(values, all, "levels");
}

TEST_P(GateCompactTest, SaysWhatIsWrong) {
  prepare({1, 3, 2}, {"per position", From::matrix}, false, std::nullopt, false);
  make_compact(false);
  const at::Tensor h = h_.to(at::kDouble), g = g_.to(at::kDouble);
  expect_usage_error([&] { gate_forward(h, g, sources_, {}); },
                     "expected float64 sources beside float64 activations, found compact ones");
  read().destination = SourceAscent{{}, broad(at::zeros({3, 3})), broad(at::zeros({3, 3}))};
  expect_usage_error([&] { gate_backward(dgated_, h_, g_, sources_, {}, dscale_, {}, false); },
                     "moment of sources: expected BFloat16");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GateCompactTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kBFloat16})), device_case_name);

}  // namespace
}  // namespace vpd
