#pragma once

// One call of the gate with everything it is made from, and the method's formulas beside it.

#include <algorithm>
#include <optional>
#include <string>
#include <variant>
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

/// Alternatives of GateSources, and their draws.
enum class From { constant, uniform, binomial, matrix, mixed };

/// Sources to try. Matrices: how many batch rows and positions they have (0: as many as the pass), where the
/// pass begins.
struct Kind {
  const char* name;
  From from;
  double value = 0.0, delta_value = 0.0;
  std::int64_t batch_rows = 0, time_rows = 0, first_batch = 0;
  bool extra_batch = false;     // sources of more batch rows than the pass has
  std::int64_t extra_time = 0;  // of so many more positions
};
inline const std::vector<Kind> kinds = {
    {"zero", From::constant},
    {"ones", From::constant, 1.0, 1.0},
    {"between", From::constant, 0.25, 0.75},
    {"uniform", From::uniform},
    {"binomial", From::binomial},
    {"per position", From::matrix},
    {"per position, a part", From::matrix, 0, 0, 0, 0, 2, true},
    {"per position, wrapped", From::matrix, 0, 0, 0, 0, 1},
    {"shared across batch", From::matrix, 0, 0, 1, 0},
    {"shared across all", From::matrix, 0, 0, 1, 1},
    {"shared across time", From::matrix, 0, 0, 0, 1},
    {"n sources", From::matrix, 0, 0, 2, 0, 3},
    {"of longer rows", From::matrix, 0, 0, 0, 0, 0, false, 2},
    {"of longer rows, shared across batch", From::matrix, 0, 0, 1, 0, 0, false, 3},
    {"mixed", From::mixed},
    {"mixed, shared across all", From::mixed, 0, 0, 1, 1},
    {"mixed, shared across time", From::mixed, 0, 0, 0, 1},
};

/// None that is fixed, no Δ-component, all of it, and a part that float32 holds exactly.
inline const std::vector<std::optional<double>> deltas = {std::nullopt, 0.0, 1.0, 0.375};

inline SourceDistribution distribution(From from) {
  return from == From::binomial ? SourceDistribution::binomial : SourceDistribution::uniform;
}
/// Of sources that have one.
inline ReadSources& read_of(GateSources& sources) {
  if (auto* mixed = std::get_if<MixedSources>(&sources.from)) return mixed->read;
  return std::get<ReadSources>(sources.from);
}
inline at::Tensor gradient_of(const GateSources& sources) {
  return std::get<SourceGradient>(sources.read()->destination).sum;
}

inline constexpr RandomKey key{0x12345678u, 0x9abcdef0u};
inline constexpr std::uint32_t site = 7;

inline double word_as_uniform(std::uint32_t block, std::uint64_t row, int word) {
  std::uint32_t x[4] = {block, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), site};
  philox(key, x[0], x[1], x[2], x[3]);
  return static_cast<double>(to_uniform(x[word]));
}

/// r [N, C] and, as last column, δ, as the documentation of the counters says. float64.
inline at::Tensor drawn(From from, std::int64_t N, std::int64_t C, std::int64_t first_row) {
  at::Tensor r = at::empty({N, C + 1}, at::kDouble);
  auto values = r.accessor<double, 2>();
  for (std::int64_t n = 0; n < N; ++n) {
    const auto row = static_cast<std::uint64_t>(n + first_row);
    for (std::int64_t c = 0; c < C; ++c) {
      values[n][c] = word_as_uniform(static_cast<std::uint32_t>(c / 4), row, static_cast<int>(c % 4));
    }
    values[n][C] = word_as_uniform(0xffffffffu, row, 0);
  }
  return from == From::binomial ? r.ge(0.5).to(at::kDouble) : r;
}

/// One call with everything it is made from, on the device and in float64.
class GateCase : public DeviceTest {
 protected:
  /// `delta`: one δ everywhere; nothing: the sources'.
  void prepare(const Size& size, const Kind& kind, bool routed, std::optional<double> delta, bool strided,
               bool narrow_importance = false) {
    const auto [B, T, C] = size;
    N_ = B * T, C_ = C;
    const auto layout = [&](const at::Tensor& x) { return strided ? column_slice(x) : x; };
    h_ = layout(real(uniform_values({N_, C}, 1, -2.0, 2.0)));
    const at::Tensor g = uniform_values({N_, C}, 2, 0.0, 1.0);
    g_ = layout(narrow_importance ? real(g) : broad(g));
    dgated_ = real(uniform_values({N_, C}, 3, -2.0, 2.0));
    dscale_ = broad(uniform_values({N_}, 4, -2.0, 2.0));
    routing_ = at::Tensor();
    if (routed) routing_ = uniform_values({N_}, 5).gt(-0.3).to(device(), at::kByte);

    rows_.clear();
    const DrawnSources draws{distribution(kind.from), key, site, 11};
    if (kind.from == From::constant) sources_.from = ConstantSources{kind.value, kind.delta_value};
    if (kind.from == From::uniform || kind.from == From::binomial) sources_.from = draws;
    if (kind.from == From::matrix) sources_.from = matrix_of(size, kind, strided);
    if (kind.from == From::mixed) {
      sources_.from = MixedSources{matrix_of(size, kind, strided), draws,
                                   uniform_values({N_}, 7).gt(-0.2).to(device(), at::kByte)};
    }
    sources_.fixed_delta = delta;
  }

  ReadSources matrix_of(const Size& size, const Kind& kind, bool strided) {
    ReadSources read{.time_length = size.T, .first_batch = kind.first_batch};
    read.batch_rows = (kind.batch_rows ? kind.batch_rows : size.B) + (kind.extra_batch ? 2 : 0);
    read.time_rows = kind.time_rows ? kind.time_rows : size.T + kind.extra_time;
    read.values = broad(uniform_values({read.batch_rows * read.time_rows, size.C + 1}, 6, 0.0, 1.0));
    if (strided) read.values = column_slice(read.values);
    for (std::int64_t b = 0; b < size.B; ++b) {
      for (std::int64_t t = 0; t < size.T; ++t) {
        const std::int64_t source = (b + kind.first_batch) % read.batch_rows;
        rows_.push_back(source * read.time_rows + (read.time_rows == 1 ? 0 : t));
      }
    }
    return read;
  }

  bool has_matrix() const { return sources_.read() != nullptr; }
  ReadSources& read() { return read_of(sources_); }
  /// The matrix that is read, undefined where there is none.
  at::Tensor values() const { return has_matrix() ? sources_.read()->values : at::Tensor(); }

  /// float64 sources of each position, [N, C + 1]; `matrix` where they are read.
  at::Tensor position_sources(const at::Tensor& matrix) const {
    if (const auto* constant = std::get_if<ConstantSources>(&sources_.from)) {
      return at::cat(
          {at::full({N_, C_}, constant->r, at::kDouble), at::full({N_, 1}, constant->delta, at::kDouble)}, 1);
    }
    if (const auto* draws = std::get_if<DrawnSources>(&sources_.from)) {
      const bool binomial = draws->distribution == SourceDistribution::binomial;
      return drawn(binomial ? From::binomial : From::uniform, N_, C_, draws->first_row);
    }
    const at::Tensor read = matrix.index_select(0, at::tensor(rows_, at::kLong));
    const auto* mixed = std::get_if<MixedSources>(&sources_.from);
    if (!mixed) return read;
    return at::where(mixed->is_read.cpu().to(at::kBool).unsqueeze(1), read,
                     drawn(From::uniform, N_, C_, mixed->drawn.first_row));
  }

  struct Reference {
    at::Tensor gated, scale;
  };
  /// The method's formulas; all float64 on the CPU.
  Reference reference(const at::Tensor& h, const at::Tensor& g, const at::Tensor& matrix) const {
    const at::Tensor rd = position_sources(matrix);
    const std::optional<double>& fixed = sources_.fixed_delta;
    const at::Tensor r = rd.narrow(1, 0, C_),
                     delta = fixed ? at::full({N_, 1}, *fixed, at::kDouble) : rd.narrow(1, C_, 1);
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
    const bool compact = values().scalar_type() == at::kShort;
    return leaf(compact ? values().to(at::kCPU, at::kDouble) / 32767.0 : values());
  }

  Tolerance stored() const { return rounding(wide(), 8, 8.0, dtype()); }
  Tolerance computed(double roundings = 8) const { return rounding(wide(), roundings, 8.0); }

  /// The backward pass with `sources_` as they are, and what it gives beside dL/dr against the formulas.
  /// Returns dL/dr, float64, undefined where nothing is read.
  at::Tensor check_backward_pass() {
    const at::Tensor h = leaf(h_), g = leaf(g_), before = broad(uniform_values({N_, C_}, 9));
    const at::Tensor matrix = has_matrix() ? source_leaf() : at::Tensor(), dg = column_slice(before);
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
    return at::zeros({values().size(0), 1}, at::kBool).index_fill_(0, at::tensor(rows_, at::kLong), true);
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
          for (const std::optional<double> delta : deltas) {
            for (const bool strided : {false, true}) {
              // Importances in the type of activations, where that is another one, in some of the sizes.
              const bool narrow = dtype() == at::kBFloat16 && size.T % 2 == 1;
              SCOPED_TRACE(::testing::Message()
                           << kind.name << " B " << size.B << " T " << size.T << " C " << size.C
                           << (routed ? " routed" : "") << (delta ? " delta " + std::to_string(*delta) : "")
                           << (strided ? " strided" : ""));
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
  at::Tensor h_, g_, dgated_, dscale_, routing_;
  GateSources sources_;
  std::vector<std::int64_t> rows_;
};

}  // namespace vpd::testing
