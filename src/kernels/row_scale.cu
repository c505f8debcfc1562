// Rows scaled on CUDA; formulas in row_scale_cpu.cpp. One block a row; deterministic.

#include "device.cuh"
#include "row_scale_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;

template <class Real>
__global__ void __launch_bounds__(most_threads) row_scale_kernel(RowScaleParams p, bool packed) {
  using T = Wide<Real>;
  constexpr int width = 16 / static_cast<int>(sizeof(Real));  // elements of 16 bytes
  __shared__ T scratch[most_threads / warp_size];
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    Real* y_row = static_cast<Real*>(p.y) + n * p.y_stride;
    const Real* x_row = p.x ? static_cast<const Real*>(p.x) + n * p.x_stride : nullptr;
    const T scale = static_cast<const T*>(p.scale)[n];
    T dot = 0;
    for_each_column<width>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T y[columns.value], x[columns.value] = {};
      load(y_row + c, y);
      if (x_row) load(x_row + c, x);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) {
        dot += y[i] * x[i];
        y[i] *= scale;
      }
      store(y_row + c, y);
    });
    if (!x_row) continue;
    dot = block_reduce(dot, Sum{}, scratch);
    if (threadIdx.x == 0) static_cast<T*>(p.dots)[n] = dot;
  }
}

}  // namespace

void row_scale_cuda(const RowScaleParams& p, void* stream) {
  if (p.rows == 0) return;
  for_element<__nv_bfloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    constexpr int width = 16 / static_cast<int>(sizeof(Real));
    const bool packed = packs_fit<Real>(p.x, p.x_stride, width) && packs_fit<Real>(p.y, p.y_stride, width);
    VPD_LAUNCH(row_scale_kernel<Real>, grid_of(p.rows),
               threads_of((p.columns + width - 1) / width, most_threads), 0,
               static_cast<cudaStream_t>(stream), p, packed);
  });
}

}  // namespace vpd
