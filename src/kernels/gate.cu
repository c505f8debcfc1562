// Gate of a site on CUDA; formulas in gate_cpu.cpp.
//
// One block a row. gated, scale and h_gradient are overwritten, importance_gradient is added to;
// source_gradient is overwritten or added to as told, or the sources climb; no two rows of either may be the
// same. No atomics: results are deterministic, and random sources are those of the CPU bit for bit.

#include "ascent_step.hpp"
#include "device.cuh"
#include "gate_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;

/// What a kernel knows of its parameters when it is compiled. `single`: nothing, and columns are accessed one
/// by one. From `packed` on rows are accessed in whole packs of four. `read` and `drawn` are the masks of
/// training: sources that are read, with Adam's moments where they climb, or drawn uniformly; everywhere or
/// at listed positions.
enum class GateCase { single, packed, read, drawn };

/// The parameters with what is known of them as constants, so that the compiler leaves out everything else:
/// reads that do not wait for branches are on their way together.
template <class Real, GateCase which>
__device__ __forceinline__ GateParams known(GateParams p) {
  if constexpr (which == GateCase::read || which == GateCase::drawn) {
    p.routing = nullptr;
    p.source_gradient = nullptr;
    p.delta = true;
    p.narrow_importance = std::is_same_v<Real, __nv_bfloat16>;
    p.ascent.adam = true;
    p.kind = which == GateCase::read ? SourceKind::read : SourceKind::uniform;
    if constexpr (which == GateCase::drawn) p.sources = nullptr;
  }
  return p;
}

/// Whether known() may be told so.
template <class Real>
bool is_of(GateCase which, const GateParams& p) {
  if (p.routing || p.source_gradient || !p.delta ||
      p.narrow_importance != std::is_same_v<Real, __nv_bfloat16>)
    return false;
  if (which == GateCase::drawn) return p.kind == SourceKind::uniform;
  return p.kind == SourceKind::read && (!p.climbing || p.ascent.adam);
}

/// What all threads of a row need.
template <class T>
struct Row {
  std::int64_t source;  // row of the source matrix
  T delta;              // where it is not read
  bool matrix;          // whether r and δ are read there
};

/// How sources and moments are kept beside arithmetic in T.
template <class T, bool compact>
using KeptSource = std::conditional_t<compact, std::int16_t, T>;
template <class T, bool compact>
using KeptMoment = std::conditional_t<compact, __nv_bfloat16, T>;

template <bool compact, class T>
__device__ __forceinline__ KeptSource<T, compact> keep_source(T r) {
  if constexpr (compact) {
    return compact_source(r);
  } else {
    return r;
  }
}

template <class T>
__device__ T draw(const GateParams& p, std::uint32_t word) {
  const float u = to_uniform(word);
  if (p.kind == SourceKind::binomial) return u < 0.5f ? T(0) : T(1);
  return static_cast<T>(u);
}

__device__ __forceinline__ void random_words(const GateParams& p, std::int64_t n, std::uint32_t block,
                                             std::uint32_t (&words)[4]) {
  random_words(p.key.get(), block, static_cast<std::uint64_t>(n + p.first_row), p.site, words);
}

/// Where the row's sources are, and its δ where that is constant or drawn: by one thread, which tells the
/// others through `shared`; all of the block must come here.
template <class T>
__device__ __forceinline__ Row<T> find_row(const GateParams& p, std::int64_t n, T* shared) {
  if (p.kind == SourceKind::constant) return {0, static_cast<T>(p.delta_value), false};
  Row<T> row{p.sources ? source_row(p, n) : 0, static_cast<T>(p.delta_value), reads_matrix(p, n)};
  if (!p.delta || row.matrix) return row;
  __syncthreads();  // the row before may still be read
  if (threadIdx.x == 0) {
    std::uint32_t words[4];
    random_words(p, n, delta_block, words);
    *shared = draw<T>(p, words[0]);
  }
  __syncthreads();
  row.delta = *shared;
  return row;
}

/// The row's δ. One that is kept every thread reads for itself, together with the columns: nobody waits for
/// it first.
template <bool compact, class T>
__device__ __forceinline__ T delta_of(const GateParams& p, const Row<T>& row) {
  if (!row.matrix || !p.delta) return row.delta;
  const auto* sources = static_cast<const KeptSource<T, compact>*>(p.sources);
  return source_of(sources[row.source * p.sources_stride + p.columns]);
}

/// Four neighbouring columns, one thread's: of one random counter and, where they are whole, one vector
/// access.
template <bool whole>
struct Quad {
  std::int64_t first;
  int count;  // of columns that there are

  __device__ Quad(std::int64_t start, std::int64_t columns)
      : first(start), count(whole || columns - start > 4 ? 4 : static_cast<int>(columns - start)) {}

  template <class From, class T>
  __device__ __forceinline__ void read(const From* row, T (&out)[4]) const {
    if constexpr (whole) {
      load(row + first, out);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = i < count ? convert<T>(row[first + i]) : T(0);
    }
  }

  template <class To, class T>
  __device__ __forceinline__ void write(To* row, const T (&x)[4]) const {
    if constexpr (whole) {
      store(row + first, x);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) row[first + i] = convert<To>(x[i]);
      }
    }
  }
};

/// Sources that are kept, from element `row` on.
template <bool compact, bool whole, class T>
__device__ __forceinline__ void read_kept_sources(const GateParams& p, std::int64_t row,
                                                  const Quad<whole>& quad, T (&r)[4]) {
  KeptSource<T, compact> kept[4];
  quad.read(static_cast<const KeptSource<T, compact>*>(p.sources) + row, kept);
#pragma unroll
  for (int i = 0; i < 4; ++i) r[i] = source_of(kept[i]);
}

template <bool compact, bool whole, class T>
__device__ __forceinline__ void read_sources(const GateParams& p, std::int64_t n, const Row<T>& row,
                                             const Quad<whole>& quad, T (&r)[4]) {
  if (row.matrix) {
    read_kept_sources<compact>(p, row.source * p.sources_stride, quad, r);
  } else if (p.kind == SourceKind::constant) {
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = static_cast<T>(p.value);
  } else {
    std::uint32_t words[4];
    random_words(p, n, static_cast<std::uint32_t>(quad.first / 4), words);
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = draw<T>(p, words[i]);
  }
}

/// The importances, clamped to [0, 1]; NaN stays NaN.
template <class Real, bool whole, class T>
__device__ __forceinline__ void read_importances(const GateParams& p, std::int64_t n, const Quad<whole>& quad,
                                                 T (&g)[4]) {
  if (p.narrow_importance) {
    quad.read(static_cast<const Real*>(p.importance) + n * p.importance_stride, g);
  } else {
    quad.read(static_cast<const T*>(p.importance) + n * p.importance_stride, g);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const T raised = g[i] < 0 ? T(0) : g[i];
    g[i] = raised > 1 ? T(1) : raised;
  }
}

/// One step of an ascent of four sources, with Adam's moments of them.
template <bool compact, class T>
struct Climbing {
  using Moment = KeptMoment<T, compact>;
  T m[4], v[4];

  template <bool whole>
  __device__ __forceinline__ void read_moments(const GateParams& p, std::int64_t row,
                                               const Quad<whole>& quad) {
    if (!p.ascent.adam) return;
    quad.read(static_cast<const Moment*>(p.source_m) + row, m);
    quad.read(static_cast<const Moment*>(p.source_v) + row, v);
  }

  /// The sources, which were read as r, climb along d.
  template <bool whole>
  __device__ __forceinline__ void step(const GateParams& p, const AscentStep<T>& step, std::int64_t row,
                                       const Quad<whole>& quad, const T (&r)[4], const T (&d)[4]) {
    KeptSource<T, compact> x[4];
    if (step.adam) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = keep_source<compact>(step.by_adam(r[i], d[i], m[i], v[i]));
      quad.write(static_cast<Moment*>(p.source_m) + row, m);
      quad.write(static_cast<Moment*>(p.source_v) + row, v);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = keep_source<compact>(step.by_sign(r[i], d[i]));
    }
    quad.write(static_cast<KeptSource<T, compact>*>(p.climbing) + row, x);
  }
};

/// One source and its moments as they are kept: what reads them need not wait for them.
template <class T, bool compact>
struct KeptElement {
  using Source = KeptSource<T, compact>;
  using Moment = KeptMoment<T, compact>;
  Source x;
  Moment m, v;

  __device__ __forceinline__ void read(const GateParams& p, std::int64_t at) {
    x = static_cast<const Source*>(p.sources)[at];
    if (!p.ascent.adam) return;
    m = static_cast<const Moment*>(p.source_m)[at];
    v = static_cast<const Moment*>(p.source_v)[at];
  }

  __device__ __forceinline__ void climb(const GateParams& p, const AscentStep<T>& step, std::int64_t at,
                                        T d) const {
    auto* to = static_cast<Source*>(p.climbing) + at;
    if (!step.adam) {
      *to = keep_source<compact>(step.by_sign(source_of(x), d));
      return;
    }
    T wide_m = convert<T>(m), wide_v = convert<T>(v);
    *to = keep_source<compact>(step.by_adam(source_of(x), d, wide_m, wide_v));
    static_cast<Moment*>(p.source_m)[at] = convert<Moment>(wide_m);
    static_cast<Moment*>(p.source_v)[at] = convert<Moment>(wide_v);
  }
};

/// The sources of four columns climb along a gradient of 0.
template <bool compact, bool whole, class T>
__device__ __forceinline__ void climb_idly(const GateParams& p, const AscentStep<T>& step, std::int64_t row,
                                           const Quad<whole>& quad) {
  const T none[4] = {};
  T r[4];
  Climbing<compact, T> climbing;
  read_kept_sources<compact>(p, row, quad, r);
  climbing.read_moments(p, row, quad);
  climbing.step(p, step, row, quad, r, none);
}

/// Those of a row.
template <bool compact, bool whole, class T>
__device__ void climb_idly(const GateParams& p, const AscentStep<T>& step, std::int64_t row) {
  for (std::int64_t first = 4 * threadIdx.x; first < p.columns; first += 4 * blockDim.x)
    climb_idly<compact>(p, step, row, Quad<whole>(first, p.columns));
  if (threadIdx.x == 0) climb_idly<compact>(p, step, row, Quad<false>(p.columns, p.columns + 1));
}

template <class To>
__device__ void clear_row(To* row, std::int64_t columns) {
  for (std::int64_t c = threadIdx.x; c < columns; c += blockDim.x) row[c] = convert<To>(0.0f);
}

template <class Real, bool compact, GateCase which>
__global__ void __launch_bounds__(most_threads) gate_forward_kernel(const GateParams all) {
  using T = Wide<Real>;
  constexpr bool whole = which != GateCase::single;
  const GateParams p = known<Real, which>(all);
  __shared__ T shared;
  for (std::int64_t k = blockIdx.x; k < p.rows; k += gridDim.x) {
    const std::int64_t n = position_of(p, k);
    Real* gated = static_cast<Real*>(p.gated) + k * p.columns;
    T* scale = static_cast<T*>(p.scale);
    if (!is_masked(p, n)) {
      clear_row(gated, p.columns);
      if (scale && threadIdx.x == 0) scale[k] = T(1);
      continue;
    }
    const Real* h_row = static_cast<const Real*>(p.h) + k * p.h_stride;
    const Row<T> row = find_row(p, n, &shared);
    T delta = 0;
    for (std::int64_t first = 4 * threadIdx.x; first < p.columns; first += 4 * blockDim.x) {
      const Quad<whole> quad(first, p.columns);
      T h[4], g[4], r[4];
      delta = delta_of<compact>(p, row);
      quad.read(h_row, h);
      read_importances<Real>(p, n, quad, g);
      read_sources<compact>(p, n, row, quad, r);
#pragma unroll
      for (int i = 0; i < 4; ++i) h[i] *= g[i] + (1 - g[i]) * r[i] - delta;
      quad.write(gated, h);
    }
    if (scale && threadIdx.x == 0) scale[k] = delta;
  }
}

template <class Real, bool compact, bool climbs, GateCase which>
__global__ void __launch_bounds__(most_threads) gate_backward_kernel(const GateParams all) {
  using T = Wide<Real>;
  constexpr bool whole = which != GateCase::single;
  const GateParams p = known<Real, which>(all);
  __shared__ T shared;
  __shared__ T scratch[most_threads / warp_size];
  const auto factor = static_cast<T>(p.source_gradient_scale);
  const AscentStep<T> step(p.ascent);
  for (std::int64_t k = blockIdx.x; k < p.rows; k += gridDim.x) {
    const std::int64_t n = position_of(p, k);
    Real* dh_row = static_cast<Real*>(p.h_gradient) + k * p.columns;
    Real* gated_row = p.gated ? static_cast<Real*>(p.gated) + k * p.columns : nullptr;
    const std::int64_t source = p.sources && n >= 0 ? source_row(p, n) : 0;
    const std::int64_t climbing_row = source * p.sources_stride;
    T* dr_row = nullptr;
    if (!climbs && p.source_gradient && n >= 0)
      dr_row = static_cast<T*>(p.source_gradient) +
               (p.source_gradient_per_position ? n : source) * p.source_gradient_stride;
    if (!is_masked(p, n)) {
      clear_row(dh_row, p.columns);
      if (gated_row) clear_row(gated_row, p.columns);
      if (dr_row && p.source_gradient_overwrite) clear_row(dr_row, p.columns + 1);
      if (climbs && n >= 0) climb_idly<compact, whole>(p, step, climbing_row);
      continue;
    }
    const Row<T> row = find_row(p, n, &shared);
    if (!row.matrix) {  // its sources are drawn
      if (climbs) climb_idly<compact, whole>(p, step, climbing_row);
      if (dr_row && p.source_gradient_overwrite) clear_row(dr_row, p.columns + 1);
      dr_row = nullptr;
    }
    const bool wants_sources = row.matrix && (climbs || dr_row);
    // What column C, the row's δ, will need at the end is on its way from here on.
    T ddelta = 0;
    KeptElement<T, compact> delta_element;
    if (threadIdx.x == 0 && wants_sources) {
      if (p.delta) ddelta = static_cast<const T*>(p.scale_gradient)[k];
      if (climbs) delta_element.read(p, climbing_row + p.columns);
    }
    const Real* h_row = static_cast<const Real*>(p.h) + k * p.h_stride;
    const Real* dgated_row = static_cast<const Real*>(p.gradient) + k * p.columns;
    T* dg_row = nullptr;
    if (p.importance_gradient)
      dg_row = static_cast<T*>(p.importance_gradient) + n * p.importance_gradient_stride;
    T sum = 0;
    for (std::int64_t first = 4 * threadIdx.x; first < p.columns; first += 4 * blockDim.x) {
      const Quad<whole> quad(first, p.columns);
      T h[4], dgated[4], g[4], r[4], dg[4] = {}, dr[4] = {}, dh[4];
      Climbing<compact, T> climbing;
      const T delta = delta_of<compact>(p, row);
      quad.read(h_row, h);
      quad.read(dgated_row, dgated);
      read_importances<Real>(p, n, quad, g);
      read_sources<compact>(p, n, row, quad, r);
      if (climbs && row.matrix) climbing.read_moments(p, climbing_row, quad);
      if (dg_row) quad.read(dg_row, dg);
      if (dr_row && !p.source_gradient_overwrite) quad.read(dr_row, dr);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const T mask = g[i] + (1 - g[i]) * r[i] - delta;
        const T dm = dgated[i] * h[i];
        dh[i] = dgated[i] * mask;
        h[i] *= mask;
        dg[i] += dm * (1 - r[i]);
        dr[i] += dm * (1 - g[i]) * factor;
        sum += dm;  // columns beyond the row were read as 0
      }
      quad.write(dh_row, dh);
      if (gated_row) quad.write(gated_row, h);
      if (dg_row) quad.write(dg_row, dg);
      if (dr_row) quad.write(dr_row, dr);
      if (climbs && row.matrix) climbing.step(p, step, climbing_row, quad, r, dr);
    }
    if (!wants_sources) continue;
    const T total = block_reduce(sum, Sum{}, scratch);
    if (threadIdx.x == 0) {
      if (p.delta) ddelta = (ddelta - total) * factor;
      if (climbs) {
        delta_element.climb(p, step, climbing_row + p.columns, ddelta);
      } else {
        dr_row[p.columns] = p.source_gradient_overwrite ? ddelta : dr_row[p.columns] + ddelta;
      }
    }
  }
}

/// Sources of positions that are not listed: a gradient of 0.
template <class T, bool compact, bool whole>
__global__ void __launch_bounds__(most_threads) gate_unlisted_kernel(GateParams p) {
  const AscentStep<T> step(p.ascent);
  for (std::int64_t n = blockIdx.x; n < p.all_rows; n += gridDim.x) {
    if (p.places[n] >= 0) continue;
    if (p.climbing) {
      climb_idly<compact, whole>(p, step, source_row(p, n) * p.sources_stride);
    } else {
      const std::int64_t target = p.source_gradient_per_position ? n : source_row(p, n);
      clear_row(static_cast<T*>(p.source_gradient) + target * p.source_gradient_stride, p.columns + 1);
    }
  }
}

template <class Real, bool compact, GateCase which>
void launch_case(const GateParams& p, bool backward, cudaStream_t stream) {
  constexpr bool whole = which != GateCase::single;
  const unsigned threads = threads_of((p.columns + 3) / 4, most_threads);
  if (backward && reaches_unlisted(p) && p.all_rows > 0) {
    VPD_LAUNCH((gate_unlisted_kernel<Wide<Real>, compact, whole>), grid_of(p.all_rows), threads, 0, stream,
               p);
  }
  if (p.rows == 0) return;
  const unsigned grid = grid_of(p.rows);
  if (!backward) {
    VPD_LAUNCH((gate_forward_kernel<Real, compact, which>), grid, threads, 0, stream, p);
  } else if (which != GateCase::drawn && p.climbing) {
    VPD_LAUNCH((gate_backward_kernel<Real, compact, which != GateCase::drawn, which>), grid, threads, 0,
               stream, p);
  } else {
    VPD_LAUNCH((gate_backward_kernel<Real, compact, false, which>), grid, threads, 0, stream, p);
  }
}

template <class Real, bool compact>
void launch(const GateParams& p, bool backward, cudaStream_t stream) {
  using T = Wide<Real>;
  const bool packed = p.columns % 4 == 0 && packs_fit<Real>(p.h, p.h_stride, 4) &&
                      (p.narrow_importance ? packs_fit<Real>(p.importance, p.importance_stride, 4)
                                           : packs_fit<T>(p.importance, p.importance_stride, 4)) &&
                      packs_fit<KeptSource<T, compact>>(p.sources, p.sources_stride, 4) &&
                      packs_fit<Real>(p.gated, p.columns, 4) && packs_fit<Real>(p.gradient, p.columns, 4) &&
                      packs_fit<Real>(p.h_gradient, p.columns, 4) &&
                      packs_fit<T>(p.importance_gradient, p.importance_gradient_stride, 4) &&
                      packs_fit<T>(p.source_gradient, p.source_gradient_stride, 4) &&
                      packs_fit<KeptMoment<T, compact>>(p.source_m, p.sources_stride, 4) &&
                      packs_fit<KeptMoment<T, compact>>(p.source_v, p.sources_stride, 4);
  if (!packed) return launch_case<Real, compact, GateCase::single>(p, backward, stream);
  if constexpr (!std::is_same_v<Real, double>) {
    if (is_of<Real>(GateCase::read, p))
      return launch_case<Real, compact, GateCase::read>(p, backward, stream);
    if constexpr (!compact) {
      if (is_of<Real>(GateCase::drawn, p))
        return launch_case<Real, compact, GateCase::drawn>(p, backward, stream);
    }
  }
  launch_case<Real, compact, GateCase::packed>(p, backward, stream);
}

void dispatch(const GateParams& p, bool backward, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  for_element<__nv_bfloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    if constexpr (!std::is_same_v<Real, double>) {
      if (p.compact) return launch<Real, true>(p, backward, on);
    }
    launch<Real, false>(p, backward, on);
  });
}

}  // namespace

void gate_forward_cuda(const GateParams& params, void* stream) { dispatch(params, false, stream); }
void gate_backward_cuda(const GateParams& params, void* stream) { dispatch(params, true, stream); }

}  // namespace vpd
