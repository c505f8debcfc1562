// Gate of a site on the CPU, and the specification of the CUDA form (gate.cu).
//
//   m = g + (1 - g) r,  gated = h (m - δ),  scale = δ        where routing is on
//                       gated = 0,          scale = 1        where it is off
//   dL/dh = dL/dgated (m - δ)      dL/dg += dL/dgated h (1 - r)
//   dL/dr = dL/dgated h (1 - g)    dL/dδ  = dL/dscale - Σ_c dL/dgated h
//
// dL/dr is stored, or the sources climb along it (ascent_step.hpp). A position whose sources are drawn leaves
// dL/dr as it is, or 0 where it is overwritten or climbed along. Rows are independent, except that positions
// may share a source row, whose gradient they add to: with such sources rows run in order on one thread.
// Random r are drawn again in the backward pass. Where rows are of listed positions, a row of none comes out
// 0 with a scale of 1, and the others' dL/dr is 0.

#include <algorithm>
#include <vector>

#include <c10/util/BFloat16.h>

#include "ascent_step.hpp"
#include "gate_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

constexpr int counters_at_once = 16;  // four words each: 64 columns, whole vectors of 512 bits

template <class Wide>
void draw_uniform(const GateParams& p, std::int64_t row, Wide* r) {
  const std::uint64_t global = static_cast<std::uint64_t>(row + p.first_row);
  const auto low = static_cast<std::uint32_t>(global), high = static_cast<std::uint32_t>(global >> 32);
  const RandomKey key = p.key.get();
  const std::int64_t blocks = (p.columns + 3) / 4;
  for (std::int64_t first = 0; first < blocks; first += counters_at_once) {
    std::uint32_t x[4][counters_at_once];
    for (int i = 0; i < counters_at_once; ++i) {
      x[0][i] = static_cast<std::uint32_t>(first + i);
      x[1][i] = low, x[2][i] = high, x[3][i] = p.site;
      philox(key, x[0][i], x[1][i], x[2][i], x[3][i]);
    }
    const std::int64_t base = 4 * first;
    if (base + 4 * counters_at_once <= p.columns) {
      for (int i = 0; i < counters_at_once; ++i)
        for (int w = 0; w < 4; ++w) r[base + 4 * i + w] = static_cast<Wide>(to_uniform(x[w][i]));
    } else {
      for (std::int64_t c = base; c < p.columns; ++c)
        r[c] = static_cast<Wide>(to_uniform(x[(c - base) % 4][(c - base) / 4]));
    }
  }
}

template <class Wide>
Wide draw_delta(const GateParams& p, std::int64_t row) {
  std::uint32_t words[4];
  random_words(p.key.get(), delta_block, static_cast<std::uint64_t>(row + p.first_row), p.site, words);
  return static_cast<Wide>(to_uniform(words[0]));
}

/// The sources of one row: a pointer into the source matrix, or values drawn or widened into `buffer`.
template <class Wide>
struct RowSources {
  const Wide* r;
  Wide delta;
};

template <class Wide>
RowSources<Wide> row_sources(const GateParams& p, std::int64_t n, Wide* buffer) {
  RowSources<Wide> s{buffer, static_cast<Wide>(p.delta_value)};
  if (reads_matrix(p, n) && p.compact) {
    const auto* __restrict kept =
        static_cast<const std::int16_t*>(p.sources) + source_row(p, n) * p.sources_stride;
#pragma GCC ivdep
    for (std::int64_t c = 0; c <= p.columns; ++c) buffer[c] = source_of(kept[c]);
    s.delta = buffer[p.columns];
  } else if (reads_matrix(p, n)) {
    s.r = static_cast<const Wide*>(p.sources) + source_row(p, n) * p.sources_stride;
    s.delta = s.r[p.columns];
  } else if (p.kind != SourceKind::constant) {  // of a constant one `buffer` was filled once
    draw_uniform(p, n, buffer);
    s.delta = draw_delta<Wide>(p, n);
    if (p.kind == SourceKind::binomial) {
      for (std::int64_t c = 0; c < p.columns; ++c) buffer[c] = buffer[c] < Wide(0.5) ? Wide(0) : Wide(1);
      s.delta = s.delta < Wide(0.5) ? Wide(0) : Wide(1);
    }
  }
  if (!p.delta) s.delta = static_cast<Wide>(p.delta_value);
  return s;
}

/// The importances of one row, clamped to [0, 1] into `buffer`; NaN stays NaN.
template <class Real, class Wide>
const Wide* importances(const GateParams& p, std::int64_t n, std::vector<Wide>& buffer) {
  Wide* __restrict g = buffer.data();
  const auto clamp = [&](const auto* matrix) {
    const auto* __restrict z = matrix + n * p.importance_stride;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c) {
      const Wide value = static_cast<Wide>(z[c]), raised = value < 0 ? Wide(0) : value;
      g[c] = raised > 1 ? Wide(1) : raised;
    }
  };
  p.narrow_importance ? clamp(static_cast<const Real*>(p.importance))
                      : clamp(static_cast<const Wide*>(p.importance));
  return g;
}

/// The sources that position n reads climb along d, C + 1 numbers.
template <class Wide>
void climb_row(const GateParams& p, const AscentStep<Wide>& step, std::int64_t n, const Wide* d) {
  const std::int64_t first = source_row(p, n) * p.sources_stride;
  const auto climb_as = [&](auto source, auto moment) {
    const auto row = [&](void* matrix) {
      return matrix ? static_cast<decltype(moment)*>(matrix) + first : nullptr;
    };
    climb(step, static_cast<decltype(source)*>(p.climbing) + first, d, row(p.source_m), row(p.source_v),
          p.columns + 1);
  };
  if constexpr (std::is_same_v<Wide, float>) {
    if (p.compact) return climb_as(std::int16_t{}, c10::BFloat16{});
  }
  climb_as(Wide{}, Wide{});
}

template <class Wide>
std::vector<Wide> source_buffer(const GateParams& p) {
  return std::vector<Wide>(static_cast<std::size_t>(p.columns) + 64, static_cast<Wide>(p.value));
}

template <class Real, class Wide>
void forward_rows(const GateParams& p, std::int64_t begin, std::int64_t end) {
  std::vector<Wide> buffer = source_buffer<Wide>(p), clamped(static_cast<std::size_t>(p.columns));
  auto* scale = static_cast<Wide*>(p.scale);
  for (std::int64_t i = begin; i < end; ++i) {
    Real* __restrict gated = static_cast<Real*>(p.gated) + i * p.columns;
    const std::int64_t n = position_of(p, i);
    if (!is_masked(p, n)) {
      std::fill_n(gated, p.columns, Real(0));
      if (scale) scale[i] = 1;
      continue;
    }
    const RowSources<Wide> s = row_sources(p, n, buffer.data());
    const Real* __restrict h = static_cast<const Real*>(p.h) + i * p.h_stride;
    const Wide* __restrict g = importances<Real>(p, n, clamped);
    const Wide* __restrict r = s.r;
    const Wide delta = s.delta;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c)
      gated[c] = static_cast<Real>(static_cast<Wide>(h[c]) * (g[c] + (1 - g[c]) * r[c] - delta));
    if (scale) scale[i] = delta;
  }
}

template <class Real, class Wide>
void backward_rows(const GateParams& p, std::int64_t begin, std::int64_t end) {
  std::vector<Wide> buffer = source_buffer<Wide>(p), product(static_cast<std::size_t>(p.columns) + 1),
                    clamped(static_cast<std::size_t>(p.columns));
  const auto factor = static_cast<Wide>(p.source_gradient_scale);
  const AscentStep<Wide> step(p.ascent);
  const std::vector<Wide> none(p.climbing ? static_cast<std::size_t>(p.columns) + 1 : 0);  // a gradient of 0
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t n = position_of(p, i);
    Real* __restrict dh = static_cast<Real*>(p.h_gradient) + i * p.columns;
    Real* gated = p.gated ? static_cast<Real*>(p.gated) + i * p.columns : nullptr;
    Wide* dr = p.source_gradient && n >= 0
                   ? static_cast<Wide*>(p.source_gradient) + source_row(p, n) * p.source_gradient_stride
                   : nullptr;
    if (!is_masked(p, n)) {
      std::fill_n(dh, p.columns, Real(0));
      if (gated) std::fill_n(gated, p.columns, Real(0));
      if (dr && p.source_gradient_overwrite) std::fill_n(dr, p.columns + 1, Wide(0));
      if (p.climbing && n >= 0) climb_row(p, step, n, none.data());
      continue;
    }
    if (dr && !reads_matrix(p, n)) {
      if (p.source_gradient_overwrite) std::fill_n(dr, p.columns + 1, Wide(0));
      dr = nullptr;
    }
    const RowSources<Wide> s = row_sources(p, n, buffer.data());
    const Real* __restrict h = static_cast<const Real*>(p.h) + i * p.h_stride;
    const Real* __restrict dgated = static_cast<const Real*>(p.gradient) + i * p.columns;
    const Wide* __restrict g = importances<Real>(p, n, clamped);
    const Wide* r = s.r;  // which may climb below
    const Wide delta = s.delta;
    Wide* __restrict dm = product.data();
    Wide sum = 0;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c) {
      const Wide mask = g[c] + (1 - g[c]) * r[c] - delta;
      dh[c] = static_cast<Real>(static_cast<Wide>(dgated[c]) * mask);
      dm[c] = static_cast<Wide>(dgated[c]) * static_cast<Wide>(h[c]);
      sum += dm[c];
    }
    if (gated)
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c)
        gated[c] = static_cast<Real>(static_cast<Wide>(h[c]) * (g[c] + (1 - g[c]) * r[c] - delta));
    if (p.importance_gradient) {
      Wide* __restrict dg = static_cast<Wide*>(p.importance_gradient) + n * p.importance_gradient_stride;
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c) dg[c] += dm[c] * (1 - r[c]);
    }
    const bool climbs = p.climbing && reads_matrix(p, n);
    if (p.climbing && !climbs) climb_row(p, step, n, none.data());
    if (dr || climbs) {
      const Wide ddelta = p.delta ? (static_cast<const Wide*>(p.scale_gradient)[i] - sum) * factor : Wide(0);
      if (climbs) {
#pragma GCC ivdep
        for (std::int64_t c = 0; c < p.columns; ++c) dm[c] *= (1 - g[c]) * factor;
        dm[p.columns] = ddelta;
        climb_row(p, step, n, product.data());
      } else if (p.source_gradient_overwrite) {
#pragma GCC ivdep
        for (std::int64_t c = 0; c < p.columns; ++c) dr[c] = dm[c] * (1 - g[c]) * factor;
        dr[p.columns] = ddelta;
      } else {
#pragma GCC ivdep
        for (std::int64_t c = 0; c < p.columns; ++c) dr[c] += dm[c] * (1 - g[c]) * factor;
        dr[p.columns] += ddelta;
      }
    }
  }
}

/// Sources of positions that are not listed: a gradient of 0.
template <class Wide>
void unlisted_rows(const GateParams& p, std::int64_t begin, std::int64_t end) {
  const AscentStep<Wide> step(p.ascent);
  const std::vector<Wide> none(static_cast<std::size_t>(p.columns) + 1);
  for (std::int64_t n = begin; n < end; ++n) {
    if (p.places[n] >= 0) continue;
    if (p.climbing) {
      climb_row(p, step, n, none.data());
    } else {
      std::copy(none.begin(), none.end(),
                static_cast<Wide*>(p.source_gradient) + source_row(p, n) * p.source_gradient_stride);
    }
  }
}

template <class Real, class Wide>
void run(const GateParams& p, bool backward) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    backward ? backward_rows<Real, Wide>(p, begin, end) : forward_rows<Real, Wide>(p, begin, end);
  };
  if (backward && p.source_gradient && p.source_rows_shared) return body(0, p.rows);
  parallel_rows(p.rows, 4 * p.columns, body);
  if (!backward || !reaches_unlisted(p)) return;
  parallel_rows(p.all_rows, 4 * p.columns,
                [&](std::int64_t begin, std::int64_t end) { unlisted_rows<Wide>(p, begin, end); });
}

void dispatch(const GateParams& p, bool backward) {
  for_element<c10::BFloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    run<Real, Wide<Real>>(p, backward);
  });
}

}  // namespace

void gate_forward_cpu(const GateParams& params) { dispatch(params, false); }
void gate_backward_cpu(const GateParams& params) { dispatch(params, true); }

}  // namespace vpd
