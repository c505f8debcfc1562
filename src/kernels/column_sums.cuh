#pragma once

// Sums over the rows of a matrix in two stages: groups of rows in parallel, then the groups in order.
// Deterministic.

#include "column_sums.hpp"
#include "device.cuh"

namespace vpd {

inline constexpr unsigned column_threads = 128;

/// partial[group, c] = Σ over the group's rows of value.prepared()(n, c): in T over 64 rows at a time, in
/// float64 beyond. One thread a column, one y of the grid a group.
template <class T, class Value>
__global__ void __launch_bounds__(column_threads)
    column_partials_kernel(std::int64_t rows, std::int64_t columns, double* partial, Value value) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * column_threads + threadIdx.x;
  if (c >= columns) return;
  const std::int64_t per_group = (rows + gridDim.y - 1) / gridDim.y;
  const std::int64_t begin = blockIdx.y * per_group;
  const std::int64_t end = begin + per_group < rows ? begin + per_group : rows;
  const auto of = value.prepared();
  double total = 0.0;
  for (std::int64_t first = begin; first < end; first += 64) {
    const std::int64_t last = first + 64 < end ? first + 64 : end;
    T sum = 0;
#pragma unroll 8
    for (std::int64_t n = first; n < last; ++n) sum += of(n, c);
    total += static_cast<double>(sum);
  }
  partial[blockIdx.y * columns + c] = total;
}

/// out[c] += Σ over groups of partial[group, c].
template <class Out>
__global__ void __launch_bounds__(column_threads)
    column_totals_kernel(std::int64_t groups, std::int64_t columns, const double* partial, Out* out) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * column_threads + threadIdx.x;
  if (c >= columns) return;
  double total = 0.0;
  for (std::int64_t group = 0; group < groups; ++group) total += partial[group * columns + c];
  out[c] += static_cast<Out>(total);
}

/// out[c] += Σ_n value.prepared()(n, c): `prepared` and what it returns are __device__ functions, this with
/// results of type T. Columns at most 2^31 · 128.
template <class T, class Out, class Value>
void add_column_sums(std::int64_t rows, std::int64_t columns, double* workspace, Out* out, const Value& value,
                     cudaStream_t stream) {
  if (rows == 0 || columns == 0) return;
  const std::int64_t groups = column_sum_groups(rows, columns);
  const auto tiles = static_cast<unsigned>((columns + column_threads - 1) / column_threads);
  const dim3 grid(tiles, static_cast<unsigned>(groups));
  VPD_LAUNCH((column_partials_kernel<T>), grid, column_threads, 0, stream, rows, columns, workspace, value);
  VPD_LAUNCH(column_totals_kernel, tiles, column_threads, 0, stream, groups, columns, workspace, out);
}

}  // namespace vpd
