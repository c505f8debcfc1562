// Uniform fills and ascent steps on CUDA; formulas in ascent_cpu.cpp.
//
// x, m and v are overwritten, elementwise. The draws are those of the CPU bit for bit. Deterministic.

#include "ascent_kernel.hpp"
#include "ascent_step.hpp"
#include "device.cuh"

namespace vpd {
namespace {

constexpr unsigned threads = 256;

/// One thread a counter, which is four columns; rows along y.
template <class T>
__global__ void __launch_bounds__(threads) fill_uniform_kernel(FillUniformParams p, bool packed) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x, first = 4 * block;
  if (first >= p.columns) return;
  for (std::int64_t n = blockIdx.y; n < p.rows; n += gridDim.y) {
    std::uint32_t words[4];
    random_words(p.key.get(), static_cast<std::uint32_t>(block), static_cast<std::uint64_t>(n + p.first_row),
                 0, words);
    T* x = static_cast<T*>(p.x) + n * p.stride + first;
    const T u[4] = {static_cast<T>(to_uniform(words[0])), static_cast<T>(to_uniform(words[1])),
                    static_cast<T>(to_uniform(words[2])), static_cast<T>(to_uniform(words[3]))};
    if (packed && first + 4 <= p.columns) {
      store(x, u);
      continue;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + i < p.columns) x[i] = u[i];
    }
  }
}

template <class T, int width>
__global__ void __launch_bounds__(threads) ascend_kernel(AscentParams p) {
  AscentStep<T> step(p.rule);
  const auto correct = [&](std::int64_t element) {
    if (p.counts) step.unbias(p.rule, static_cast<double>(p.counts[element / p.part]));
  };
  const std::int64_t packs = p.count / width;
  const std::int64_t self = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  const std::int64_t all = static_cast<std::int64_t>(gridDim.x) * threads;
  T* x_all = static_cast<T*>(p.x);
  const T* d_all = static_cast<const T*>(p.gradient);
  T* m_all = static_cast<T*>(p.m);
  T* v_all = static_cast<T*>(p.v);
  for (std::int64_t i = self; i < packs; i += all) {
    T x[width], d[width], m[width], v[width];
    correct(i * width);
    load(x_all + i * width, x);
    load(d_all + i * width, d);
    if (step.adam) {
      load(m_all + i * width, m);
      load(v_all + i * width, v);
#pragma unroll
      for (int k = 0; k < width; ++k) x[k] = step.by_adam(x[k], d[k], m[k], v[k]);
      store(m_all + i * width, m);
      store(v_all + i * width, v);
    } else {
#pragma unroll
      for (int k = 0; k < width; ++k) x[k] = step.by_sign(x[k], d[k]);
    }
    store(x_all + i * width, x);
  }
  for (std::int64_t i = packs * width + self; i < p.count; i += all) {
    correct(i);
    x_all[i] =
        step.adam ? step.by_adam(x_all[i], d_all[i], m_all[i], v_all[i]) : step.by_sign(x_all[i], d_all[i]);
  }
}

template <class T>
void fill(const FillUniformParams& p, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  const std::int64_t blocks = (p.columns + 3) / 4;
  const dim3 grid(static_cast<unsigned>((blocks + threads - 1) / threads),
                  static_cast<unsigned>(p.rows < 65535 ? p.rows : 65535));
  VPD_LAUNCH((fill_uniform_kernel<T>), grid, threads, 0, stream, p, packs_fit<T>(p.x, p.stride, 4));
}

template <class T>
void ascend(const AscentParams& p, cudaStream_t stream) {
  if (p.count == 0) return;
  constexpr int width = pack_width<T>;
  const bool packed = packs_fit<T>(p.x, 0, width) && packs_fit<T>(p.gradient, 0, width) &&
                      packs_fit<T>(p.m, 0, width) && packs_fit<T>(p.v, 0, width) &&
                      (!p.counts || p.part % width == 0);
  const std::int64_t pieces = packed ? (p.count + width - 1) / width : p.count;
  const unsigned grid = grid_of((pieces + threads - 1) / threads);
  if (packed) {
    VPD_LAUNCH((ascend_kernel<T, width>), grid, threads, 0, stream, p);
  } else {
    VPD_LAUNCH((ascend_kernel<T, 1>), grid, threads, 0, stream, p);
  }
}

}  // namespace

void fill_uniform_cuda(const FillUniformParams& params, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  params.type == ElementType::float64 ? fill<double>(params, on) : fill<float>(params, on);
}
void ascend_cuda(const AscentParams& params, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  params.type == ElementType::float64 ? ascend<double>(params, on) : ascend<float>(params, on);
}

}  // namespace vpd
