// Lists of masked positions and the rows at them on CUDA; formulas in positions_cpu.cpp.
//
// Lists: one block a site, each thread a run of neighbouring positions. Rows: one block a row. Everything but
// the y of combine is overwritten. No atomics: the lists are in order, and no row is written twice.

#include "device.cuh"
#include "positions_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned threads_a_site = 512;
constexpr unsigned most_threads = 256;

__global__ void __launch_bounds__(threads_a_site) masked_positions_kernel(MaskedPositionsParams p) {
  __shared__ std::int32_t masked[threads_a_site];  // in the run of each thread and, later, of those before
  const std::uint8_t* routing = p.routing + blockIdx.x * p.rows;
  std::int32_t* positions = p.positions + blockIdx.x * p.most;
  std::int32_t* places = p.places + blockIdx.x * p.rows;
  const std::int64_t run = (p.rows + blockDim.x - 1) / blockDim.x;
  const std::int64_t begin = threadIdx.x * run, end = begin + run < p.rows ? begin + run : p.rows;
  std::int32_t own = 0;
  for (std::int64_t n = begin; n < end; ++n) own += routing[n] ? 1 : 0;
  masked[threadIdx.x] = own;
  __syncthreads();
  for (unsigned distance = 1; distance < blockDim.x; distance *= 2) {
    const std::int32_t before = threadIdx.x >= distance ? masked[threadIdx.x - distance] : 0;
    __syncthreads();
    masked[threadIdx.x] += before;
    __syncthreads();
  }
  std::int64_t place = masked[threadIdx.x] - own;
  for (std::int64_t n = begin; n < end; ++n) {
    const bool listed = routing[n] && place < p.most;
    places[n] = listed ? static_cast<std::int32_t>(place) : -1;
    if (listed) positions[place++] = static_cast<std::int32_t>(n);
  }
  const std::int64_t all = masked[blockDim.x - 1], count = all < p.most ? all : p.most;
  for (std::int64_t i = count + threadIdx.x; i < p.most; i += blockDim.x) positions[i] = -1;
  if (threadIdx.x == 0) p.counts[blockIdx.x] = static_cast<std::int32_t>(count);
}

template <class Real>
__global__ void __launch_bounds__(most_threads) select_rows_kernel(RowsParams p, bool packed) {
  for (std::int64_t i = blockIdx.x; i < p.rows; i += gridDim.x) {
    Real* y = static_cast<Real*>(p.y) + i * p.y_stride;
    const std::int64_t from = p.row_of[i];
    const Real* x = static_cast<const Real*>(p.x) + (from < 0 ? 0 : from) * p.x_stride;
    for_each_column<pack_width<Real>>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      Wide<Real> values[columns.value] = {};
      if (from >= 0) load(x + c, values);
      store(y + c, values);
    });
  }
}

template <class Real>
__global__ void __launch_bounds__(most_threads) dot_rows_kernel(RowsParams p, bool packed) {
  using T = Wide<Real>;
  __shared__ T scratch[most_threads / warp_size];
  for (std::int64_t i = blockIdx.x; i < p.rows; i += gridDim.x) {
    const std::int64_t from = p.row_of[i];
    T sum = 0;
    if (from >= 0) {
      const Real* x = static_cast<const Real*>(p.x) + from * p.x_stride;
      const Real* other = static_cast<const Real*>(p.other) + from * p.other_stride;
      for_each_column<pack_width<Real>>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
        T a[columns.value], b[columns.value];
        load(x + c, a);
        load(other + c, b);
#pragma unroll
        for (int j = 0; j < columns.value; ++j) sum += a[j] * b[j];
      });
    }
    sum = block_reduce(sum, Sum{}, scratch);
    if (threadIdx.x == 0) static_cast<T*>(p.y)[i] = sum;
  }
}

template <class Real>
__global__ void __launch_bounds__(most_threads) combine_rows_kernel(RowsParams p, bool packed) {
  using T = Wide<Real>;
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    const std::int64_t from = p.row_of[n];
    if (from < 0) continue;
    Real* y = static_cast<Real*>(p.y) + n * p.y_stride;
    const Real* x = static_cast<const Real*>(p.x) + from * p.x_stride;
    const T scale = static_cast<const T*>(p.scale)[from];
    for_each_column<pack_width<Real>>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T values[columns.value], added[columns.value];
      load(y + c, values);
      load(x + c, added);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) values[i] = scale * values[i] + added[i];
      store(y + c, values);
    });
  }
}

template <class Launch>
void launch_rows(const RowsParams& p, const Launch& launch) {
  if (p.rows == 0 || p.columns == 0) return;
  for_element<__nv_bfloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    constexpr int width = pack_width<Real>;
    const bool packed =
        packs_fit<Real>(p.x, p.x_stride, width) &&
        (p.other ? packs_fit<Real>(p.other, p.other_stride, width) : packs_fit<Real>(p.y, p.y_stride, width));
    launch(real, grid_of(p.rows), threads_of((p.columns + width - 1) / width, most_threads), packed);
  });
}

}  // namespace

void masked_positions_cuda(const MaskedPositionsParams& p, void* stream) {
  if (p.sites == 0) return;
  VPD_LAUNCH(masked_positions_kernel, grid_of(p.sites), threads_a_site, 0, static_cast<cudaStream_t>(stream),
             p);
}

void select_rows_cuda(const RowsParams& p, void* stream) {
  launch_rows(p, [&](auto real, unsigned grid, unsigned threads, bool packed) {
    VPD_LAUNCH(select_rows_kernel<decltype(real)>, grid, threads, 0, static_cast<cudaStream_t>(stream), p,
               packed);
  });
}

void dot_rows_cuda(const RowsParams& p, void* stream) {
  launch_rows(p, [&](auto real, unsigned grid, unsigned threads, bool packed) {
    VPD_LAUNCH(dot_rows_kernel<decltype(real)>, grid, threads, 0, static_cast<cudaStream_t>(stream), p,
               packed);
  });
}

void combine_rows_cuda(const RowsParams& p, void* stream) {
  launch_rows(p, [&](auto real, unsigned grid, unsigned threads, bool packed) {
    VPD_LAUNCH(combine_rows_kernel<decltype(real)>, grid, threads, 0, static_cast<cudaStream_t>(stream), p,
               packed);
  });
}

}  // namespace vpd
