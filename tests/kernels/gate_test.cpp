#include "vpd/kernels/gate.hpp"

#include <cmath>
#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

/// Sizes of one comparison: N = B T rows.
struct Size {
  std::int64_t B, T, C;
};
const std::vector<Size> sizes = {{1, 1, 1},  {1, 3, 2},   {2, 3, 5},   {3, 2, 4},
                                 {2, 5, 64}, {4, 1, 131}, {1, 2, 1031}};

/// Sources to try. Tensors: how many batch rows and positions they have (0: as many as the pass), where the
/// pass begins.
struct Kind {
  const char* name;
  SourceKind kind;
  double value = 0.0, delta_value = 0.0;
  std::int64_t batch_rows = 0, time_rows = 0, first_batch = 0;
  bool extra_batch = false;  // sources of more batch rows than the pass has
};
const std::vector<Kind> kinds = {
    {"zero", SourceKind::constant},
    {"ones", SourceKind::constant, 1.0, 1.0},
    {"between", SourceKind::constant, 0.25, 0.75},
    {"uniform", SourceKind::uniform},
    {"binomial", SourceKind::binomial},
    {"per position", SourceKind::tensor},
    {"per position, a part", SourceKind::tensor, 0, 0, 0, 0, 2, true},
    {"per position, wrapped", SourceKind::tensor, 0, 0, 0, 0, 1},
    {"shared across batch", SourceKind::tensor, 0, 0, 1, 0},
    {"shared across all", SourceKind::tensor, 0, 0, 1, 1},
    {"shared across time", SourceKind::tensor, 0, 0, 0, 1},
    {"n sources", SourceKind::tensor, 0, 0, 2, 0, 3},
    {"mixed", SourceKind::mixed},
    {"mixed, shared across all", SourceKind::mixed, 0, 0, 1, 1},
    {"mixed, shared across time", SourceKind::mixed, 0, 0, 0, 1},
};

bool has_matrix(SourceKind kind) { return kind == SourceKind::tensor || kind == SourceKind::mixed; }

constexpr RandomKey key{0x12345678u, 0x9abcdef0u};
constexpr std::uint32_t site = 7;

double word_as_uniform(std::uint32_t block, std::uint64_t row, int word) {
  std::uint32_t x[4] = {block, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), site};
  philox(key, x[0], x[1], x[2], x[3]);
  return static_cast<double>(to_uniform(x[word]));
}

/// r [N, C] and, as last column, δ, as the documentation of the counters says. float64.
at::Tensor drawn(SourceKind kind, std::int64_t N, std::int64_t C, std::int64_t first_row) {
  at::Tensor r = at::empty({N, C + 1}, at::kDouble);
  auto values = r.accessor<double, 2>();
  for (std::int64_t n = 0; n < N; ++n) {
    const auto row = static_cast<std::uint64_t>(n + first_row);
    for (std::int64_t c = 0; c < C; ++c) {
      values[n][c] = word_as_uniform(static_cast<std::uint32_t>(c / 4), row, static_cast<int>(c % 4));
    }
    values[n][C] = word_as_uniform(0xffffffffu, row, 0);
  }
  return kind == SourceKind::binomial ? r.ge(0.5).to(at::kDouble) : r;
}

/// One call with everything it is made from, on the device and in float64.
class GateTest : public DeviceTest {
 protected:
  void prepare(const Size& size, const Kind& kind, bool routed, bool delta, bool strided) {
    const auto [B, T, C] = size;
    N_ = B * T, C_ = C, delta_ = delta;
    const auto layout = [&](const at::Tensor& x) { return strided ? column_slice(x) : x; };
    h_ = layout(real(uniform_values({N_, C}, 1, -2.0, 2.0)));
    g_ = layout(broad(uniform_values({N_, C}, 2, 0.0, 1.0)));
    dgated_ = real(uniform_values({N_, C}, 3, -2.0, 2.0));
    dscale_ = broad(uniform_values({N_}, 4, -2.0, 2.0));
    routing_ = at::Tensor();
    if (routed) routing_ = uniform_values({N_}, 5).gt(-0.3).to(device(), at::kByte);

    sources_ = GateSources{};
    sources_.kind = kind.kind, sources_.value = kind.value, sources_.delta_value = kind.delta_value,
    sources_.delta = delta;
    sources_.key = key, sources_.site = site, sources_.first_row = 11;
    rows_.clear();
    if (kind.kind == SourceKind::mixed) {
      sources_.from_matrix = uniform_values({N_}, 7).gt(-0.2).to(device(), at::kByte);
    }
    if (has_matrix(kind.kind)) {
      sources_.time_length = T, sources_.first_batch = kind.first_batch;
      sources_.batch_rows = (kind.batch_rows ? kind.batch_rows : B) + (kind.extra_batch ? 2 : 0);
      sources_.time_rows = kind.time_rows ? kind.time_rows : T;
      sources_.sources =
          layout(broad(uniform_values({sources_.batch_rows * sources_.time_rows, C + 1}, 6, 0.0, 1.0)));
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t t = 0; t < T; ++t) {
          const std::int64_t source = (b + kind.first_batch) % sources_.batch_rows;
          rows_.push_back(source * sources_.time_rows + (sources_.time_rows == 1 ? 0 : t));
        }
      }
    }
  }

  /// float64 sources of each position, [N, C + 1], from `matrix` where the kind is a tensor.
  at::Tensor position_sources(const at::Tensor& matrix) const {
    if (has_matrix(sources_.kind)) {
      const at::Tensor read = matrix.index_select(0, at::tensor(rows_, at::kLong));
      if (sources_.kind == SourceKind::tensor) return read;
      return at::where(sources_.from_matrix.cpu().to(at::kBool).unsqueeze(1), read,
                       drawn(SourceKind::uniform, N_, C_, sources_.first_row));
    }
    if (sources_.kind != SourceKind::constant) return drawn(sources_.kind, N_, C_, sources_.first_row);
    return at::cat({at::full({N_, C_}, sources_.value, at::kDouble),
                    at::full({N_, 1}, sources_.delta_value, at::kDouble)},
                   1);
  }

  struct Reference {
    at::Tensor gated, scale;
  };
  /// The method's formulas; all float64 on the CPU.
  Reference reference(const at::Tensor& h, const at::Tensor& g, const at::Tensor& matrix) const {
    const at::Tensor rd = position_sources(matrix);
    const at::Tensor r = rd.narrow(1, 0, C_), delta = rd.narrow(1, C_, 1) * (delta_ ? 1.0 : 0.0);
    const at::Tensor on =
        routing_.defined() ? routing_.cpu().to(at::kDouble).unsqueeze(1) : at::ones({N_, 1}, at::kDouble);
    return {h * (g + (1.0 - g) * r - delta) * on, (delta * on + (1.0 - on)).squeeze(1)};
  }

  static at::Tensor leaf(const at::Tensor& x) {
    return x.to(at::kCPU, at::kDouble).clone().requires_grad_(true);
  }

  Tolerance stored() const { return rounding(wide(), 8, 8.0, dtype()); }
  Tolerance computed(double roundings = 8) const { return rounding(wide(), roundings, 8.0); }

  void check_forward() {
    const GateOutput out = gate_forward(h_, g_, sources_, routing_);
    const Reference expected =
        reference(h_.to(at::kCPU, at::kDouble), g_.to(at::kCPU, at::kDouble),
                  sources_.sources.defined() ? sources_.sources.to(at::kCPU, at::kDouble) : at::Tensor());
    expect_close(out.gated, expected.gated.to(dtype()), stored(), "gated");
    if (out.scale.defined()) {
      expect_close(out.scale, expected.scale.to(wide()), {}, "scale");
    } else {
      EXPECT_EQ(expected.scale.abs().sum().item<double>(), 0.0) << "a scale is wanted where it is not 0";
    }
  }

  void check_backward(bool overwrite, double factor) {
    const at::Tensor h = leaf(h_), g = leaf(g_);
    const bool wants_sources = has_matrix(sources_.kind);
    at::Tensor matrix, before, dg_before;
    if (wants_sources) {
      matrix = leaf(sources_.sources);
      // A slice of a wider matrix, so that writes beside it would show.
      before = broad(uniform_values(sources_.sources.sizes(), 8));
      sources_.gradient = column_slice(before);
      sources_.overwrite_gradient = overwrite, sources_.gradient_scale = factor;
      before = before.to(at::kCPU, at::kDouble);
    }
    dg_before = broad(uniform_values({N_, C_}, 9));
    const at::Tensor dg = column_slice(dg_before);

    const GateGradients out =
        gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, dg, /*want_gated=*/true);

    const Reference expected = reference(h, g, matrix);
    ((expected.gated * dgated_.to(at::kCPU, at::kDouble)).sum() +
     (expected.scale * dscale_.to(at::kCPU, at::kDouble)).sum())
        .backward();
    expect_close(out.h, h.grad().to(dtype()), stored(), "dL/dh");
    expect_close(out.gated, expected.gated.detach().to(dtype()), stored(), "gated");
    expect_close(dg, (g.grad() + dg_before.to(at::kCPU, at::kDouble)).to(wide()), computed(), "dL/dg");
    EXPECT_TRUE(surroundings_are_untouched(dg)) << "dL/dg";
    if (!wants_sources) return;
    at::Tensor dr = matrix.grad() * factor;
    if (overwrite) {
      // Rows that no position reads keep what they held.
      const at::Tensor met =
          at::zeros({matrix.size(0), 1}, at::kBool).index_fill_(0, at::tensor(rows_, at::kLong), true);
      dr = at::where(met, dr, before);
    } else {
      dr = dr + before;
    }
    const auto shared = static_cast<double>(rows_.size());
    expect_close(sources_.gradient, dr.to(wide()), computed(8.0 + shared + static_cast<double>(C_)), "dL/dr");
    EXPECT_TRUE(surroundings_are_untouched(sources_.gradient)) << "dL/dr";
  }

  void check_climbing(bool adam, double factor) {
    const at::Tensor h = leaf(h_), g = leaf(g_), matrix = leaf(sources_.sources);
    const auto [B, T] = std::pair{sources_.batch_rows, sources_.time_rows};
    const auto moment = [&](std::uint64_t seed, double low) {
      const at::Tensor values = broad(uniform_values({B * T, C_ + 1}, seed, low, 1.0));
      return sources_.sources.stride(0) == C_ + 1 ? values : column_slice(values);
    };
    const at::Tensor m = moment(10, -1.0), v = moment(11, 0.1), exact_m = leaf(m).detach(),
                     exact_v = leaf(v).detach(), dg = broad(at::zeros({N_, C_}));
    sources_.gradient_scale = factor;
    sources_.ascent =
        SourceAscent{{.adam = adam, .eps = 1e-8, .rate = 0.125, .unbias1 = 1.5, .unbias2 = 2.5}, m, v};
    const GateGradients out =
        gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, dg, /*want_gated=*/true);

    const Reference expected = reference(h, g, matrix);
    ((expected.gated * dgated_.to(at::kCPU, at::kDouble)).sum() +
     (expected.scale * dscale_.to(at::kCPU, at::kDouble)).sum())
        .backward();
    expect_close(out.h, h.grad().to(dtype()), stored(), "dL/dh");
    expect_close(out.gated, expected.gated.detach().to(dtype()), stored(), "gated");
    expect_close(dg, g.grad().to(wide()), computed(), "dL/dg");
    const at::Tensor d = matrix.grad() * factor,
                     met =
                         at::zeros({B * T, 1}, at::kBool).index_fill_(0, at::tensor(rows_, at::kLong), true);
    const at::Tensor new_m = 0.5 * exact_m + 0.5 * d, new_v = 0.99 * exact_v + 0.01 * d.square();
    at::Tensor moved = matrix.detach();
    moved = adam ? moved + 0.125 * (1.5 * new_m) / ((2.5 * new_v).sqrt() + 1e-8) : moved + 0.125 * d.sign();
    const auto after = [&](const at::Tensor& climbed, const at::Tensor& still) {
      return at::where(met, climbed, still).to(wide());
    };
    const double roundings = 64.0 + static_cast<double>(C_);  // of δ's gradient, a sum over the row
    if (adam) {
      expect_close(m, after(new_m, exact_m), computed(roundings), "m");
      expect_close(v, after(new_v, exact_v), computed(roundings), "v");
      expect_close(sources_.sources, after(moved.clamp(0.0, 1.0), matrix.detach()), computed(roundings),
                   "sources");
    } else {
      // Where the sum that δ's gradient is cancels, rounding decides its sign.
      const at::Tensor clear = d.abs().gt(1e-4) | d.eq(0.0);
      EXPECT_GT(clear.to(at::kDouble).mean().item<double>(), 0.9);
      const at::Tensor found = sources_.sources.to(at::kCPU, at::kDouble),
                       wanted = after(moved.clamp(0.0, 1.0), matrix.detach()).to(at::kDouble);
      expect_close(at::where(clear, found, wanted).to(wide()), wanted.to(wide()), computed(), "sources");
    }
    if (sources_.sources.stride(0) != C_ + 1) {
      for (const at::Tensor& x : {sources_.sources, m, v}) EXPECT_TRUE(surroundings_are_untouched(x));
    }
  }

  bool rows_are_shared() const {
    auto sorted = rows_;
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
  }

  template <class Check>
  void for_each_case(const Check& check) {
    for (const Size& size : sizes) {
      for (const Kind& kind : kinds) {
        for (const bool routed : {false, true}) {
          for (const bool delta : {true, false}) {
            for (const bool strided : {false, true}) {
              SCOPED_TRACE(::testing::Message() << kind.name << " B " << size.B << " T " << size.T << " C "
                                                << size.C << (routed ? " routed" : "")
                                                << (delta ? " delta" : "") << (strided ? " strided" : ""));
              prepare(size, kind, routed, delta, strided);
              check();
              if (HasFailure()) return;
            }
          }
        }
      }
    }
  }

  std::int64_t N_ = 0, C_ = 0;
  bool delta_ = true;
  at::Tensor h_, g_, dgated_, dscale_, routing_;
  GateSources sources_;
  std::vector<std::int64_t> rows_;
};

TEST_P(GateTest, ForwardIsTheFormula) {
  for_each_case([&] { check_forward(); });
}

TEST_P(GateTest, BackwardAddsUp) {
  for_each_case([&] { check_backward(/*overwrite=*/false, -1.5); });
}

TEST_P(GateTest, BackwardOverwritesWhereRowsAreMetOnce) {
  for_each_case([&] {
    if (!rows_are_shared()) check_backward(/*overwrite=*/true, 0.5);
  });
}

// One ascent along dL/dr, which is 0 where routing is off and where a position draws its own.
TEST_P(GateTest, SourcesClimbInTheBackwardPass) {
  for (const bool adam : {true, false}) {
    for_each_case([&] {
      if (has_matrix(sources_.kind) && !rows_are_shared()) check_climbing(adam, -0.5);
    });
  }
}

TEST_P(GateTest, GradientsOfSourcesTurnToZeroWhereRoutingIsOff) {
  prepare({1, 3, 5}, {"per position", SourceKind::tensor}, false, true, false);
  routing_ = at::zeros({3}, at::TensorOptions().dtype(at::kByte).device(device()));
  sources_.gradient = at::ones({3, 6}, g_.options());
  sources_.overwrite_gradient = true;
  gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false);
  expect_identical(sources_.gradient, at::zeros({3, 6}, wide()), "overwritten");
}

TEST_P(GateTest, WhatLiesBeyondZeroAndOneIsClamped) {
  for (const std::int64_t C : {3, 64, 157}) {
    prepare({1, 7, C}, {"per position", SourceKind::tensor}, false, true, false);
    const at::Tensor z = broad(uniform_values({7, C}, 9, -1.0, 2.0)), g = z.clamp(0.0, 1.0);
    expect_identical(gate_forward(h_, z, sources_, {}).gated, gate_forward(h_, g, sources_, {}).gated,
                     "gated");
    sources_.overwrite_gradient = true;
    at::Tensor gradients[2][3];
    for (const int raw : {0, 1}) {
      sources_.gradient = gradients[raw][0] = at::zeros({7, C + 1}, z.options());
      gradients[raw][1] = at::zeros_like(z);
      gradients[raw][2] =
          gate_backward(dgated_, h_, raw ? z : g, sources_, {}, dscale_, gradients[raw][1], true).h;
    }
    for (int i = 0; i < 3; ++i) expect_identical(gradients[1][i], gradients[0][i], "gradient");
  }
}

TEST_P(GateTest, UnwantedOutputsStayUndefined) {
  prepare({1, 3, 5}, {"zero", SourceKind::constant}, false, true, false);
  EXPECT_FALSE(gate_forward(h_, g_, sources_, {}).scale.defined());
  EXPECT_FALSE(gate_backward(dgated_, h_, g_, sources_, {}, {}, {}, false).gated.defined());
  sources_.kind = SourceKind::uniform;
  EXPECT_TRUE(gate_forward(h_, g_, sources_, {}).scale.defined());
  sources_.delta = false;
  EXPECT_FALSE(gate_forward(h_, g_, sources_, {}).scale.defined());
}

TEST_P(GateTest, NoRowsAreNoWork) {
  prepare({1, 1, 5}, {"uniform", SourceKind::uniform}, false, true, false);
  const GateOutput out = gate_forward(h_.narrow(0, 0, 0), g_.narrow(0, 0, 0), sources_, {});
  EXPECT_EQ(out.gated.sizes(), at::IntArrayRef({0, 5}));
  EXPECT_EQ(
      gate_backward(out.gated, h_.narrow(0, 0, 0), g_.narrow(0, 0, 0), sources_, {}, {}, {}, true).h.size(0),
      0);
}

// With h = 1 and g = 0 the output is r itself: the same bits on every device, in every dtype that holds them.
TEST_P(GateTest, DrawsAreThoseOfTheirCounters) {
  if (dtype() == at::kBFloat16) GTEST_SKIP() << "bfloat16 does not hold 24 bits";
  for (const SourceKind kind : {SourceKind::uniform, SourceKind::binomial}) {
    for (const std::int64_t C : {1, 3, 4, 63, 64, 67, 259}) {
      for (const std::int64_t first_row : {std::int64_t{0}, (std::int64_t{1} << 32) - 2}) {
        GateSources sources;
        sources.kind = kind, sources.key = key, sources.site = site, sources.first_row = first_row;
        const at::Tensor h = real(at::ones({5, C})), g = broad(at::zeros({5, C}));
        const at::Tensor expected = drawn(kind, 5, C, first_row);
        expect_identical(gate_forward(h, g, sources, {}).scale, expected.select(1, C).to(wide()), "delta");
        sources.delta = false;
        expect_identical(gate_forward(h, g, sources, {}).gated, expected.narrow(1, 0, C).to(dtype()), "r");
      }
    }
  }
}

TEST_P(GateTest, PartsOfTheBatchDrawWhatTheWholeDraws) {
  prepare({7, 3, 37}, {"uniform", SourceKind::uniform}, true, true, false);
  for (const SourceKind kind : {SourceKind::uniform, SourceKind::binomial}) {
    sources_.kind = kind;
    sources_.first_row = 5;
    const GateOutput whole = gate_forward(h_, g_, sources_, routing_);
    for (const std::int64_t split : {1, 8, 20}) {
      std::vector<at::Tensor> gated, scale;
      for (const auto& [begin, count] : {std::pair{std::int64_t{0}, split}, std::pair{split, 21 - split}}) {
        sources_.first_row = 5 + begin;
        const GateOutput part = gate_forward(h_.narrow(0, begin, count), g_.narrow(0, begin, count), sources_,
                                             routing_.narrow(0, begin, count));
        gated.push_back(part.gated), scale.push_back(part.scale);
      }
      expect_identical(at::cat(gated), whole.gated, "gated");
      expect_identical(at::cat(scale), whole.scale, "scale");
    }
  }
}

TEST_P(GateTest, SitesAndKeysDrawDifferently) {
  GateSources sources;
  sources.kind = SourceKind::uniform, sources.key = key;
  const at::Tensor h = real(at::ones({2, 32})), g = broad(at::zeros({2, 32}));
  const at::Tensor first = gate_forward(h, g, sources, {}).gated;
  sources.site = 1;
  EXPECT_FALSE(at::equal(first, gate_forward(h, g, sources, {}).gated));
  sources.site = 0, sources.key.value.high ^= 1;
  EXPECT_FALSE(at::equal(first, gate_forward(h, g, sources, {}).gated));
}

TEST_P(GateTest, UniformDrawsHaveUniformMoments) {
  if (dtype() != at::kFloat) GTEST_SKIP() << "the draws of all dtypes are the same";
  const std::int64_t N = 400, C = 501;
  const double count = static_cast<double>(N * C);
  GateSources sources;
  sources.kind = SourceKind::uniform, sources.key = key, sources.delta = false;
  const at::Tensor h = real(at::ones({N, C})), g = broad(at::zeros({N, C}));
  const at::Tensor u = gate_forward(h, g, sources, {}).gated.to(at::kCPU, at::kDouble);
  // Five standard deviations of the mean and of the second moment of U(0,1).
  EXPECT_NEAR(u.mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12.0 / count));
  EXPECT_NEAR(u.square().mean().item<double>(), 1.0 / 3.0, 5 * std::sqrt(4.0 / 45.0 / count));
  EXPECT_NEAR((u.narrow(1, 1, C - 1) * u.narrow(1, 0, C - 1)).mean().item<double>(), 0.25,
              5 * std::sqrt(7.0 / 144.0 / count));
  sources.kind = SourceKind::binomial;
  EXPECT_NEAR(gate_forward(h, g, sources, {}).gated.to(at::kDouble).mean().item<double>(), 0.5,
              5 * std::sqrt(0.25 / count));
}

TEST_P(GateTest, RepeatsItselfExactly) {
  prepare({3, 5, 131}, {"shared across all", SourceKind::tensor, 0, 0, 1, 1}, true, true, false);
  at::Tensor first;
  for (int i = 0; i < 3; ++i) {
    sources_.gradient = at::zeros_like(sources_.sources);
    gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false);
    if (first.defined()) expect_identical(sources_.gradient, first, "dL/dr");
    first = sources_.gradient;
  }
}

TEST_P(GateTest, SaysWhatIsWrong) {
  prepare({2, 3, 4}, {"per position", SourceKind::tensor}, true, true, false);
  const auto forward = [&] { gate_forward(h_, g_, sources_, routing_); };
  const auto backward = [&] { gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, {}, false); };
  const auto with = [](auto& place, auto value, const auto& call, const char* words) {
    const auto kept = place;
    place = value;
    expect_usage_error(call, words);
    place = kept;
  };
  with(h_, h_.to(at::kHalf), forward, "gate: h: expected float32, float64 or bfloat16");
  with(h_, h_.t().contiguous().t(), forward, "gate: h: expected");
  with(g_, g_.narrow(1, 0, 3), forward, "gate: importance: expected");
  with(g_, g_.to(at::kBFloat16), forward, "gate: importance: expected");
  with(routing_, routing_.to(at::kBool), forward, "expected routing as contiguous uint8 of 6 positions");
  with(routing_, routing_.narrow(0, 0, 5), forward, "found 5 elements");
  with(sources_.time_length, std::int64_t{4}, forward, "whole sequences of 4, found 6 positions");
  with(sources_.time_rows, std::int64_t{2}, forward, "for 1 or 3 positions of it, found 2 and 2");
  with(sources_.batch_rows, std::int64_t{0}, forward, "at least one batch row");
  with(sources_.first_batch, std::int64_t{-1}, forward, "at least one batch row");
  with(g_, g_.to(at::kMeta), forward, "on one device, found one on meta beside one on");
  with(sources_.sources, sources_.sources.narrow(1, 0, 4), forward, "gate: sources: expected");
  sources_.gradient = at::zeros_like(sources_.sources);
  with(dgated_, dgated_.t().contiguous().t(), backward, "contiguous gradient");
  with(dgated_, dgated_.narrow(0, 0, 5), backward, "gate: gradient: expected");
  with(dscale_, at::Tensor(), backward, "needs the contiguous");
  with(dscale_, dscale_.to(at::kMeta), backward, "on one device");
  with(dgated_, dgated_.to(at::kMeta), backward, "on one device");
  with(dscale_, dscale_.narrow(0, 0, 5), backward, "at 6 positions");
  with(sources_.gradient, sources_.gradient.narrow(0, 0, 5), backward, "gate: source gradient: expected");
  expect_usage_error(
      [&] { gate_backward(dgated_, h_, g_, sources_, {}, dscale_, g_.narrow(1, 0, 3), false); },
      "gate: importance gradient: expected");
  prepare({2, 3, 4}, {"mixed", SourceKind::mixed}, false, true, false);
  with(sources_.from_matrix, at::Tensor(), forward, "expected a choice between mixed sources, found none");
  with(sources_.from_matrix, sources_.from_matrix.narrow(0, 0, 5), forward,
       "the choice between sources as contiguous uint8 of 6 positions, found 5");
  prepare({2, 3, 4}, {"shared across batch", SourceKind::tensor, 0, 0, 1, 0}, false, true, false);
  sources_.gradient = at::zeros_like(sources_.sources);
  sources_.overwrite_gradient = true;
  expect_usage_error(backward, "sources that positions share, found the wish to overwrite it");
  sources_.gradient = at::Tensor(), sources_.overwrite_gradient = false;
  sources_.ascent.emplace().rule.adam = false;
  expect_usage_error(backward, "found the wish to climb along each position's");
  prepare({2, 3, 4}, {"per position", SourceKind::tensor}, false, true, false);
  const at::Tensor moment = at::zeros_like(sources_.sources);
  sources_.ascent.emplace().m = moment;
  sources_.ascent->v = moment.clone();
  with(sources_.ascent->m, at::Tensor(), backward, "gate: moment of sources: expected");
  with(sources_.ascent->v, moment.narrow(0, 0, 5), backward, "gate: moment of sources: expected");
  with(sources_.ascent->v, column_slice(moment), backward, "moments with the sources' stride of 5, found 10");
  with(sources_.gradient, moment, backward, "either a gradient of sources to keep or an ascent, found both");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, GateTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

// Not by autograd of the formula but by differences of the kernel itself.
TEST(GateGradient, IsTheSlopeOfTheForwardPass) {
  const at::Tensor h = uniform_values({6, 5}, 1), g = uniform_values({6, 5}, 2, 0.0, 1.0),
                   r = uniform_values({3, 6}, 3, 0.0, 1.0);
  const at::Tensor dgated = uniform_values({6, 5}, 4), dscale = uniform_values({6}, 5);
  const at::Tensor routing = at::tensor({1, 1, 0, 1, 1, 1}, at::kByte);
  const auto sources_of = [](const at::Tensor& matrix) {
    GateSources sources;
    sources.kind = SourceKind::tensor, sources.sources = matrix, sources.time_length = 3,
    sources.time_rows = 3;
    return sources;
  };
  GateSources sources = sources_of(r);
  sources.gradient = at::zeros_like(r);
  const at::Tensor dg = at::zeros_like(g);
  const GateGradients out = gate_backward(dgated, h, g, sources, routing, dscale, dg, false);
  const auto loss = [&](const std::vector<at::Tensor>& x) {
    const GateOutput y = gate_forward(x[0], x[1], sources_of(x[2]), routing);
    return (y.gated * dgated).sum() + (y.scale * dscale).sum();
  };
  check_gradient(loss, {h, g, r}, {out.h, dg, sources.gradient}, "h, g, r");
}

}  // namespace
}  // namespace vpd
