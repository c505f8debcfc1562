#pragma once

// One call of the gate with everything it is made from, and the method's formulas beside it.

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/kernels/positions.hpp"

namespace vpd::testing {

/// Sizes of one comparison: N = B T rows.
struct Size {
  std::int64_t B, T, C;
};
inline const std::vector<Size> sizes = {{1, 1, 1},  {1, 3, 2},   {2, 3, 5},   {3, 2, 4},
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
inline const std::vector<Kind> kinds = {
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

inline bool has_matrix(SourceKind kind) { return kind == SourceKind::tensor || kind == SourceKind::mixed; }

inline constexpr RandomKey key{0x12345678u, 0x9abcdef0u};
inline constexpr std::uint32_t site = 7;

inline double word_as_uniform(std::uint32_t block, std::uint64_t row, int word) {
  std::uint32_t x[4] = {block, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), site};
  philox(key, x[0], x[1], x[2], x[3]);
  return static_cast<double>(to_uniform(x[word]));
}

/// r [N, C] and, as last column, δ, as the documentation of the counters says. float64.
inline at::Tensor drawn(SourceKind kind, std::int64_t N, std::int64_t C, std::int64_t first_row) {
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
class GateCase : public DeviceTest {
 protected:
  void prepare(const Size& size, const Kind& kind, bool routed, bool delta, bool strided,
               bool narrow_importance = false) {
    const auto [B, T, C] = size;
    N_ = B * T, C_ = C, delta_ = delta;
    const auto layout = [&](const at::Tensor& x) { return strided ? column_slice(x) : x; };
    h_ = layout(real(uniform_values({N_, C}, 1, -2.0, 2.0)));
    const at::Tensor g = uniform_values({N_, C}, 2, 0.0, 1.0);
    g_ = layout(narrow_importance ? real(g) : broad(g));
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

  /// routing_ as a list of positions, with `none` rows at its end that belong to none.
  GateRouting listed(std::int64_t none) const {
    const MaskedPositions all = masked_positions(routing_.unsqueeze(0), N_).front();
    GateRouting routing;
    routing.positions = at::cat({all.positions, at::full({none}, -1, all.positions.options())});
    routing.places = all.places;
    return routing;
  }
  /// Rows of x at those positions, and any where there is none.
  static at::Tensor rows_at(const GateRouting& routing, const at::Tensor& x) {
    return x.index_select(0, routing.positions.clamp_min(0));
  }

  static at::Tensor leaf(const at::Tensor& x) {
    return x.to(at::kCPU, at::kDouble).clone().requires_grad_(true);
  }
  /// What the sources are, [R, C + 1].
  at::Tensor source_leaf() const {
    const bool compact = sources_.sources.scalar_type() == at::kShort;
    return leaf(compact ? sources_.sources.to(at::kCPU, at::kDouble) / 32767.0 : sources_.sources);
  }

  Tolerance stored() const { return rounding(wide(), 8, 8.0, dtype()); }
  Tolerance computed(double roundings = 8) const { return rounding(wide(), roundings, 8.0); }

  /// The backward pass with `sources_` as they are, and what it gives beside dL/dr against the formulas.
  /// Returns dL/dr, float64, undefined where nothing is read.
  at::Tensor check_backward_pass() {
    const at::Tensor h = leaf(h_), g = leaf(g_), before = broad(uniform_values({N_, C_}, 9));
    const at::Tensor matrix = has_matrix(sources_.kind) ? source_leaf() : at::Tensor(),
                     dg = column_slice(before);
    const GateGradients out =
        gate_backward(dgated_, h_, g_, sources_, routing_, dscale_, dg, /*want_gated=*/true);
    const Reference expected = reference(h, g, matrix);
    ((expected.gated * dgated_.to(at::kCPU, at::kDouble)).sum() +
     (expected.scale * dscale_.to(at::kCPU, at::kDouble)).sum())
        .backward();
    expect_close(out.h, h.grad().to(dtype()), stored(), "dL/dh");
    expect_close(out.gated, expected.gated.detach().to(dtype()), stored(), "gated");
    expect_close(dg, (g.grad() + before.to(at::kCPU, at::kDouble)).to(wide()), computed(), "dL/dg");
    EXPECT_TRUE(surroundings_are_untouched(dg)) << "dL/dg";
    return matrix.defined() ? matrix.grad() : matrix;
  }

  /// Which rows of the sources any position reads.
  at::Tensor met() const {
    return at::zeros({sources_.sources.size(0), 1}, at::kBool)
        .index_fill_(0, at::tensor(rows_, at::kLong), true);
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
              // Importances in the type of activations, where that is another one, in some of the sizes.
              const bool narrow = dtype() == at::kBFloat16 && size.T % 2 == 1;
              SCOPED_TRACE(::testing::Message() << kind.name << " B " << size.B << " T " << size.T << " C "
                                                << size.C << (routed ? " routed" : "")
                                                << (delta ? " delta" : "") << (strided ? " strided" : ""));
              prepare(size, kind, routed, delta, strided, narrow);
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

}  // namespace vpd::testing
