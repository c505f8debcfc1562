// Histograms of columns on CUDA; formulas in histogram_cpu.cpp.
//
// One thread a column, one y of the grid a group of rows. A thread counts in a column of shared memory of its
// own, so nothing waits, and adds its counts to the global ones at the end: whole numbers, so the result does
// not depend on the order. Reads are contiguous over the block's threads.

#include "column_sums.hpp"
#include "device.cuh"
#include "histogram_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned threads = 128;

template <class T>
__global__ void __launch_bounds__(threads) histogram_kernel(HistogramParams p) {
  auto* shared_counts = dynamic_shared<std::uint32_t>();  // [bins + 2, threads]
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (c >= p.columns) return;  // nothing below waits for other threads
  const int bins = static_cast<int>(p.bins);
  std::uint32_t* own = shared_counts + threadIdx.x;
  for (int k = 0; k < bins + 2; ++k) own[k * threads] = 0;
  const std::int64_t per_group = (p.rows + gridDim.y - 1) / gridDim.y;
  const std::int64_t begin = blockIdx.y * per_group;
  const std::int64_t end = begin + per_group < p.rows ? begin + per_group : p.rows;
  const T* x = static_cast<const T*>(p.x) + c;
  const auto width = static_cast<T>(p.bins), threshold = static_cast<T>(p.threshold);
  std::uint32_t above = 0;
#pragma unroll 4
  for (std::int64_t n = begin; n < end; ++n) {
    const T value = x[n * p.stride];
    const T place = ceil(value * width);
    const int bin = value > 0 ? (place < width ? static_cast<int>(place) : bins) : 0;
    ++own[bin * threads];
    above += value > threshold ? 1 : 0;
  }
  own[(bins + 1) * threads] = above;
  for (int k = 0; k < bins + 2; ++k) {
    const std::uint32_t count = own[k * threads];
    if (count == 0) continue;
    atomicAdd(reinterpret_cast<unsigned long long*>(p.counts + k * p.columns + c),
              static_cast<unsigned long long>(count));
  }
}

template <class T>
void histogram(const HistogramParams& p, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  const dim3 grid(static_cast<unsigned>((p.columns + threads - 1) / threads),
                  static_cast<unsigned>(column_sum_groups(p.rows, p.columns)));
  const std::size_t bytes = static_cast<std::size_t>(p.bins + 2) * threads * sizeof(std::uint32_t);
  VPD_LAUNCH((histogram_kernel<T>), grid, threads, bytes, stream, p);
}

}  // namespace

void histogram_cuda(const HistogramParams& params, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  params.type == ElementType::float64 ? histogram<double>(params, on) : histogram<float>(params, on);
}

}  // namespace vpd
