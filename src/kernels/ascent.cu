// Uniform fills and ascent steps on CUDA; formulas in ascent_cpu.cpp.
//
// x, m and v are overwritten, elementwise. The draws are those of the CPU bit for bit. Deterministic.

#include "ascent_kernel.hpp"
#include "device.cuh"

namespace vpd {
namespace {

constexpr unsigned threads = 256;

template <class T>
constexpr int pack_width = 16 / static_cast<int>(sizeof(T));

/// One thread a counter, which is four columns; rows along y.
template <class T>
__global__ void __launch_bounds__(threads) fill_uniform_kernel(FillUniformParams p, bool packed) {
  const std::int64_t block = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x, first = 4 * block;
  if (first >= p.columns) return;
  for (std::int64_t n = blockIdx.y; n < p.rows; n += gridDim.y) {
    const auto row = static_cast<std::uint64_t>(n + p.first_row);
    std::uint32_t words[4] = {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(row),
                              static_cast<std::uint32_t>(row >> 32), 0};
    philox(p.key.get(), words[0], words[1], words[2], words[3]);
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

template <class T>
struct Rule {
  T beta1, beta2, eps, rate, inverse1, inverse2;
  bool clamp;

  __device__ explicit Rule(const AscentParams& p)
      : beta1(static_cast<T>(p.beta1)),
        beta2(static_cast<T>(p.beta2)),
        eps(static_cast<T>(p.eps)),
        rate(static_cast<T>(p.rate.get())),
        inverse1(static_cast<T>(p.unbias1.get())),
        inverse2(static_cast<T>(p.unbias2.get())),
        clamp(p.clamp) {}

  __device__ __forceinline__ void correct(const AscentParams& p, std::int64_t element) {
    if (!p.counts) return;
    const auto t = static_cast<double>(p.counts[element / p.part]);
    inverse1 = static_cast<T>(1 / (1 - pow(p.beta1, t)));
    inverse2 = static_cast<T>(1 / (1 - pow(p.beta2, t)));
  }

  __device__ __forceinline__ T kept(T x) const {
    if (!clamp) return x;
    const T raised = x < 0 ? T(0) : x;
    return raised > 1 ? T(1) : raised;
  }
  __device__ __forceinline__ T sign_step(T x, T d) const {
    const T sign = d > 0 ? T(1) : (d < 0 ? T(-1) : T(0));
    return kept(x + rate * sign);
  }
  __device__ __forceinline__ T adam_step(T x, T d, T& m, T& v) const {
    m = beta1 * m + (1 - beta1) * d;
    v = beta2 * v + (1 - beta2) * d * d;
    return kept(x + rate * (m * inverse1) / (device_sqrt(v * inverse2) + eps));
  }
};

template <class T, int width>
__global__ void __launch_bounds__(threads) ascend_kernel(AscentParams p) {
  Rule<T> rule(p);
  const std::int64_t packs = p.count / width;
  const std::int64_t self = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  const std::int64_t all = static_cast<std::int64_t>(gridDim.x) * threads;
  T* x_all = static_cast<T*>(p.x);
  const T* d_all = static_cast<const T*>(p.gradient);
  T* m_all = static_cast<T*>(p.m);
  T* v_all = static_cast<T*>(p.v);
  for (std::int64_t i = self; i < packs; i += all) {
    T x[width], d[width], m[width], v[width];
    rule.correct(p, i * width);
    load(x_all + i * width, x);
    load(d_all + i * width, d);
    if (m_all) {
      load(m_all + i * width, m);
      load(v_all + i * width, v);
#pragma unroll
      for (int k = 0; k < width; ++k) x[k] = rule.adam_step(x[k], d[k], m[k], v[k]);
      store(m_all + i * width, m);
      store(v_all + i * width, v);
    } else {
#pragma unroll
      for (int k = 0; k < width; ++k) x[k] = rule.sign_step(x[k], d[k]);
    }
    store(x_all + i * width, x);
  }
  for (std::int64_t i = packs * width + self; i < p.count; i += all) {
    rule.correct(p, i);
    x_all[i] =
        m_all ? rule.adam_step(x_all[i], d_all[i], m_all[i], v_all[i]) : rule.sign_step(x_all[i], d_all[i]);
  }
}

template <class T>
void fill(const FillUniformParams& p, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  const std::int64_t blocks = (p.columns + 3) / 4;
  const dim3 grid(static_cast<unsigned>((blocks + threads - 1) / threads),
                  static_cast<unsigned>(p.rows < 65535 ? p.rows : 65535));
  fill_uniform_kernel<T><<<grid, threads, 0, stream>>>(p, packs_fit<T>(p.x, p.stride, 4));
  VPD_CUDA_LAUNCH_CHECK();
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
    ascend_kernel<T, width><<<grid, threads, 0, stream>>>(p);
    VPD_CUDA_LAUNCH_CHECK();
  } else {
    ascend_kernel<T, 1><<<grid, threads, 0, stream>>>(p);
    VPD_CUDA_LAUNCH_CHECK();
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
