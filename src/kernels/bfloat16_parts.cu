// float32 matrices as sums of bfloat16 ones on CUDA; formulas in bfloat16_parts_cpu.cpp. One block a row;
// deterministic.

#include "bfloat16_parts_kernel.hpp"
#include "device.cuh"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;
constexpr int pack = 4;

__global__ void __launch_bounds__(most_threads) bfloat16_parts_kernel(BFloat16PartsParams p, bool packed) {
  __shared__ double scratch[most_threads / warp_size];
  for (std::int64_t m = blockIdx.x; m < p.rows; m += gridDim.x) {
    const std::int64_t row = m * p.columns;
    double squares = 0.0;
    for_each_column<pack>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      constexpr int width = decltype(columns)::value;
      float rest[width], less[width] = {}, part[width];
      load(p.x + row + c, rest);
      if (p.less) load(p.less + row + c, less);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        rest[i] -= less[i];
        squares += static_cast<double>(rest[i]) * static_cast<double>(rest[i]);
        // Rounded here: fused with the difference below, it would be of another number than part 0 is.
        rest[i] = __fmul_rn(rest[i], p.scale);
      }
#pragma unroll
      for (int k = 0; k < most_parts; ++k) {
        if (k >= p.parts) break;
#pragma unroll
        for (int i = 0; i < width; ++i) {
          part[i] = convert<float>(convert<__nv_bfloat16>(rest[i]));
          rest[i] -= part[i];
        }
        store(static_cast<__nv_bfloat16*>(p.out) + k * p.rows * p.columns + row + c, part);
      }
    });
    if (!p.squares) continue;
    squares = block_reduce(squares, Sum{}, scratch);
    if (threadIdx.x == 0) p.squares[m] = squares;
  }
}

}  // namespace

void bfloat16_parts_cuda(const BFloat16PartsParams& p, void* stream) {
  if (p.rows == 0) return;
  const bool packed = packs_fit<float>(p.x, p.columns, pack) && packs_fit<float>(p.less, p.columns, pack) &&
                      packs_fit<__nv_bfloat16>(p.out, p.columns, pack) &&
                      packs_fit<__nv_bfloat16>(p.out, p.rows * p.columns, pack);
  VPD_LAUNCH(bfloat16_parts_kernel, grid_of(p.rows), threads_of((p.columns + pack - 1) / pack, most_threads),
             0, static_cast<cudaStream_t>(stream), p, packed);
}

}  // namespace vpd
