// Gate of a site on CUDA; formulas in gate_cpu.cpp.
//
// One block a row. gated, scale and h_gradient are overwritten, importance_gradient is added to;
// source_gradient is overwritten or added to as told, or the sources climb; no two rows of either may be the
// same. No atomics: results are deterministic, and random sources are those of the CPU bit for bit.

#include "ascent_step.hpp"
#include "device.cuh"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;

/// What all threads of a row need.
template <class T>
struct Row {
  std::int64_t source;  // row of the source matrix
  T delta;
  bool matrix;  // whether r is read there
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
  const auto row = static_cast<std::uint64_t>(n + p.first_row);
  words[0] = block;
  words[1] = static_cast<std::uint32_t>(row);
  words[2] = static_cast<std::uint32_t>(row >> 32);
  words[3] = p.site;
  philox(p.key.get(), words[0], words[1], words[2], words[3]);
}

/// One thread finds out and tells the others through `shared`: all of the block must come here.
template <bool compact, class T>
__device__ Row<T> find_row(const GateParams& p, std::int64_t n, Row<T>* shared) {
  if (p.kind == SourceKind::constant) return {0, p.delta ? static_cast<T>(p.delta_value) : T(0), false};
  __syncthreads();  // the row before may still be read
  if (threadIdx.x == 0) {
    Row<T> row{0, T(0), reads_matrix(p, n)};
    if (p.sources) row.source = source_row(p, n);
    if (row.matrix) {
      const auto* sources = static_cast<const KeptSource<T, compact>*>(p.sources);
      if (p.delta) row.delta = source_of(sources[row.source * p.sources_stride + p.columns]);
    } else if (p.delta) {
      std::uint32_t words[4];
      random_words(p, n, delta_block, words);
      row.delta = draw<T>(p, words[0]);
    }
    *shared = row;
  }
  __syncthreads();
  return *shared;
}

/// Four columns of one thread: neighbours (one random counter, one vector access), or, where rows start off
/// 16-byte boundaries, columns a block apart, so that a warp's accesses are whole sectors all the same.
template <bool adjacent>
struct Quad {
  std::int64_t first;
  int count;

  __device__ static std::int64_t begin() {
    return adjacent ? 4 * static_cast<std::int64_t>(threadIdx.x) : threadIdx.x;
  }
  __device__ static std::int64_t step() { return adjacent ? 1 : blockDim.x; }

  __device__ Quad(std::int64_t start, std::int64_t columns) : first(start) {
    const std::int64_t left = (columns - start + step() - 1) / step();
    count = left < 4 ? static_cast<int>(left) : 4;
  }

  template <class From, class T>
  __device__ __forceinline__ void read(const From* row, bool packed, T (&out)[4]) const {
    if (adjacent && packed && count == 4) {
      load(row + first, out);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = i < count ? convert<T>(row[first + i * step()]) : T(0);
  }

  template <class To, class T>
  __device__ __forceinline__ void write(To* row, bool packed, const T (&x)[4]) const {
    if (adjacent && packed && count == 4) {
      store(row + first, x);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) row[first + i * step()] = convert<To>(x[i]);
    }
  }
};

template <bool compact, bool adjacent, class T>
__device__ __forceinline__ void read_sources(const GateParams& p, std::int64_t n, const Row<T>& row,
                                             bool packed, const Quad<adjacent>& quad, T (&r)[4]) {
  if (row.matrix) {
    KeptSource<T, compact> kept[4];
    quad.read(static_cast<const KeptSource<T, compact>*>(p.sources) + row.source * p.sources_stride, packed,
              kept);
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = source_of(kept[i]);
  } else if (p.kind == SourceKind::constant) {
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = static_cast<T>(p.value);
  } else if constexpr (adjacent) {  // the launcher chooses it for random sources
    std::uint32_t words[4];
    random_words(p, n, static_cast<std::uint32_t>(quad.first / 4), words);
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = draw<T>(p, words[i]);
  }
}

/// The importances, clamped to [0, 1]; NaN stays NaN.
template <class Real, bool adjacent, class T>
__device__ __forceinline__ void read_importances(const GateParams& p, std::int64_t n, bool packed,
                                                 const Quad<adjacent>& quad, T (&g)[4]) {
  if (p.narrow_importance) {
    quad.read(static_cast<const Real*>(p.importance) + n * p.importance_stride, packed, g);
  } else {
    quad.read(static_cast<const T*>(p.importance) + n * p.importance_stride, packed, g);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const T raised = g[i] < 0 ? T(0) : g[i];
    g[i] = raised > 1 ? T(1) : raised;
  }
}

/// One source and its moments, element `at` of each, climb along d.
template <bool compact, class T>
__device__ __forceinline__ void climb_one(const GateParams& p, const AscentStep<T>& step, std::int64_t at,
                                          T d) {
  using Moment = KeptMoment<T, compact>;
  auto* x = static_cast<KeptSource<T, compact>*>(p.climbing) + at;
  if (step.adam) {
    Moment* kept_m = static_cast<Moment*>(p.source_m) + at;
    Moment* kept_v = static_cast<Moment*>(p.source_v) + at;
    T m = convert<T>(*kept_m), v = convert<T>(*kept_v);
    *x = keep_source<compact>(step.by_adam(source_of(*x), d, m, v));
    *kept_m = convert<Moment>(m), *kept_v = convert<Moment>(v);
  } else {
    *x = keep_source<compact>(step.by_sign(source_of(*x), d));
  }
}

/// Four sources that were read as r, from element `row` on, climb along d.
template <bool compact, bool adjacent, class T>
__device__ __forceinline__ void climb_quad(const GateParams& p, const AscentStep<T>& step, std::int64_t row,
                                           bool packed, const Quad<adjacent>& quad, const T (&r)[4],
                                           const T (&d)[4]) {
  using Moment = KeptMoment<T, compact>;
  KeptSource<T, compact> x[4];
  if (step.adam) {
    Moment* m_row = static_cast<Moment*>(p.source_m) + row;
    Moment* v_row = static_cast<Moment*>(p.source_v) + row;
    T m[4], v[4];
    quad.read(m_row, packed, m);
    quad.read(v_row, packed, v);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = keep_source<compact>(step.by_adam(r[i], d[i], m[i], v[i]));
    quad.write(m_row, packed, m);
    quad.write(v_row, packed, v);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = keep_source<compact>(step.by_sign(r[i], d[i]));
  }
  quad.write(static_cast<KeptSource<T, compact>*>(p.climbing) + row, packed, x);
}

/// The sources of a row climb along a gradient of 0.
template <bool compact, class T>
__device__ void climb_idly(const GateParams& p, const AscentStep<T>& step, std::int64_t row) {
  for (std::int64_t c = threadIdx.x; c <= p.columns; c += blockDim.x)
    climb_one<compact>(p, step, row + c, T(0));
}

template <class To>
__device__ void clear_row(To* row, std::int64_t columns) {
  for (std::int64_t c = threadIdx.x; c < columns; c += blockDim.x) row[c] = convert<To>(0.0f);
}

template <class Real, bool adjacent, bool compact>
__global__ void __launch_bounds__(most_threads) gate_forward_kernel(GateParams p, bool packed) {
  using T = Wide<Real>;
  __shared__ Row<T> shared;
  for (std::int64_t k = blockIdx.x; k < p.rows; k += gridDim.x) {
    const std::int64_t n = position_of(p, k);
    Real* gated = static_cast<Real*>(p.gated) + k * p.columns;
    T* scale = static_cast<T*>(p.scale);
    if (!is_masked(p, n)) {
      clear_row(gated, p.columns);
      if (scale && threadIdx.x == 0) scale[k] = T(1);
      continue;
    }
    const Row<T> row = find_row<compact>(p, n, &shared);
    const Real* h_row = static_cast<const Real*>(p.h) + k * p.h_stride;
    for (std::int64_t first = Quad<adjacent>::begin(); first < p.columns; first += 4 * blockDim.x) {
      const Quad<adjacent> quad(first, p.columns);
      T h[4], g[4], r[4];
      quad.read(h_row, packed, h);
      read_importances<Real>(p, n, packed, quad, g);
      read_sources<compact>(p, n, row, packed, quad, r);
#pragma unroll
      for (int i = 0; i < 4; ++i) h[i] *= g[i] + (1 - g[i]) * r[i] - row.delta;
      quad.write(gated, packed, h);
    }
    if (scale && threadIdx.x == 0) scale[k] = row.delta;
  }
}

template <class Real, bool adjacent, bool compact>
__global__ void __launch_bounds__(most_threads) gate_backward_kernel(GateParams p, bool packed) {
  using T = Wide<Real>;
  __shared__ Row<T> shared;
  __shared__ T scratch[most_threads / warp_size];
  const auto factor = static_cast<T>(p.source_gradient_scale);
  const AscentStep<T> step(p.ascent);
  for (std::int64_t k = blockIdx.x; k < p.rows; k += gridDim.x) {
    const std::int64_t n = position_of(p, k);
    Real* dh_row = static_cast<Real*>(p.h_gradient) + k * p.columns;
    Real* gated_row = p.gated ? static_cast<Real*>(p.gated) + k * p.columns : nullptr;
    const bool masked = is_masked(p, n);
    const bool wants_sources =
        n >= 0 && (p.climbing || (p.source_gradient && (masked || p.source_gradient_overwrite)));
    if (!masked && !wants_sources) {
      clear_row(dh_row, p.columns);
      if (gated_row) clear_row(gated_row, p.columns);
      continue;
    }
    const Row<T> row = find_row<compact>(p, n, &shared);
    const std::int64_t sources_row = row.source * p.sources_stride;  // of what climbs
    T* dr_row = nullptr;
    if (p.source_gradient && wants_sources) {
      const std::int64_t target = p.source_gradient_per_position ? n : row.source;
      dr_row = static_cast<T*>(p.source_gradient) + target * p.source_gradient_stride;
    }
    if (!masked) {
      clear_row(dh_row, p.columns);
      if (gated_row) clear_row(gated_row, p.columns);
      if (dr_row) clear_row(dr_row, p.columns + 1);
      if (p.climbing) climb_idly<compact>(p, step, sources_row);
      continue;
    }
    const bool climbs = p.climbing && row.matrix;
    if (p.climbing && !climbs) climb_idly<compact>(p, step, sources_row);
    if (dr_row && !row.matrix) {  // its sources are drawn
      if (p.source_gradient_overwrite) clear_row(dr_row, p.columns + 1);
      dr_row = nullptr;
    }
    const Real* h_row = static_cast<const Real*>(p.h) + k * p.h_stride;
    const Real* dgated_row = static_cast<const Real*>(p.gradient) + k * p.columns;
    T* dg_row = nullptr;
    if (p.importance_gradient)
      dg_row = static_cast<T*>(p.importance_gradient) + n * p.importance_gradient_stride;
    T sum = 0;
    for (std::int64_t first = Quad<adjacent>::begin(); first < p.columns; first += 4 * blockDim.x) {
      const Quad<adjacent> quad(first, p.columns);
      T h[4], dgated[4], g[4], r[4], dg[4] = {}, dr[4] = {}, dh[4];
      quad.read(h_row, packed, h);
      quad.read(dgated_row, packed, dgated);
      read_importances<Real>(p, n, packed, quad, g);
      if (dg_row) quad.read(dg_row, packed, dg);
      if (dr_row && !p.source_gradient_overwrite) quad.read(dr_row, packed, dr);
      read_sources<compact>(p, n, row, packed, quad, r);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const T mask = g[i] + (1 - g[i]) * r[i] - row.delta;
        const T dm = dgated[i] * h[i];
        dh[i] = dgated[i] * mask;
        h[i] *= mask;
        dg[i] += dm * (1 - r[i]);
        dr[i] += dm * (1 - g[i]) * factor;
        sum += dm;  // columns beyond the row were read as 0
      }
      quad.write(dh_row, packed, dh);
      if (gated_row) quad.write(gated_row, packed, h);
      if (dg_row) quad.write(dg_row, packed, dg);
      if (dr_row) quad.write(dr_row, packed, dr);
      if (climbs) climb_quad<compact>(p, step, sources_row, packed, quad, r, dr);
    }
    if (!dr_row && !climbs) continue;
    const T total = block_reduce(sum, Sum{}, scratch);
    if (threadIdx.x == 0) {
      const T ddelta = p.delta ? (static_cast<const T*>(p.scale_gradient)[k] - total) * factor : T(0);
      if (climbs) {
        climb_one<compact>(p, step, sources_row + p.columns, ddelta);
      } else {
        dr_row[p.columns] = p.source_gradient_overwrite ? ddelta : dr_row[p.columns] + ddelta;
      }
    }
  }
}

/// Sources of positions that are not listed: a gradient of 0.
template <class T, bool compact>
__global__ void __launch_bounds__(most_threads) gate_unlisted_kernel(GateParams p) {
  const AscentStep<T> step(p.ascent);
  for (std::int64_t n = blockIdx.x; n < p.all_rows; n += gridDim.x) {
    if (p.places[n] >= 0) continue;
    if (p.climbing) {
      climb_idly<compact>(p, step, source_row(p, n) * p.sources_stride);
    } else {
      const std::int64_t target = p.source_gradient_per_position ? n : source_row(p, n);
      clear_row(static_cast<T*>(p.source_gradient) + target * p.source_gradient_stride, p.columns + 1);
    }
  }
}

template <class Real, bool compact>
void launch(const GateParams& p, bool backward, cudaStream_t stream) {
  using T = Wide<Real>;
  if (backward && reaches_unlisted(p) && p.all_rows > 0) {
    VPD_LAUNCH((gate_unlisted_kernel<T, compact>), grid_of(p.all_rows),
               threads_of(p.columns + 1, most_threads), 0, stream, p);
  }
  if (p.rows == 0) return;
  const bool packed = packs_fit<Real>(p.h, p.h_stride, 4) &&
                      (p.narrow_importance ? packs_fit<Real>(p.importance, p.importance_stride, 4)
                                           : packs_fit<T>(p.importance, p.importance_stride, 4)) &&
                      packs_fit<KeptSource<T, compact>>(p.sources, p.sources_stride, 4) &&
                      packs_fit<Real>(p.gated, p.columns, 4) && packs_fit<Real>(p.gradient, p.columns, 4) &&
                      packs_fit<Real>(p.h_gradient, p.columns, 4) &&
                      packs_fit<T>(p.importance_gradient, p.importance_gradient_stride, 4) &&
                      packs_fit<T>(p.source_gradient, p.source_gradient_stride, 4) &&
                      packs_fit<KeptMoment<T, compact>>(p.source_m, p.sources_stride, 4) &&
                      packs_fit<KeptMoment<T, compact>>(p.source_v, p.sources_stride, 4);
  const bool random = p.kind != SourceKind::constant && p.kind != SourceKind::tensor;
  const unsigned grid = grid_of(p.rows), threads = threads_of((p.columns + 3) / 4, most_threads);
  if (backward && (random || packed)) {
    VPD_LAUNCH((gate_backward_kernel<Real, true, compact>), grid, threads, 0, stream, p, packed);
  } else if (backward) {
    VPD_LAUNCH((gate_backward_kernel<Real, false, compact>), grid, threads, 0, stream, p, false);
  } else if (random || packed) {
    VPD_LAUNCH((gate_forward_kernel<Real, true, compact>), grid, threads, 0, stream, p, packed);
  } else {
    VPD_LAUNCH((gate_forward_kernel<Real, false, compact>), grid, threads, 0, stream, p, false);
  }
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
