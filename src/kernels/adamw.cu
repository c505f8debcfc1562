// AdamW on CUDA; formulas in adamw.hpp. Elementwise and deterministic; blocks stride, so that the corrections
// of the bias are computed once for many elements.

#include <algorithm>

#include "adamw_kernel.hpp"
#include "device.cuh"

namespace vpd {
namespace {

constexpr unsigned threads = 256;
constexpr std::int64_t most_blocks = 4096;

template <class T>
struct AdamWStep {
  T beta1, beta2, eps, decay, rate, root, divisor;

  __device__ explicit AdamWStep(const AdamWParams& p)
      : beta1(static_cast<T>(p.beta1)), beta2(static_cast<T>(p.beta2)), eps(static_cast<T>(p.eps)) {
    const double now = p.late_rate ? static_cast<double>(*p.late_rate) : p.rate;
    const double updates = p.late_updates ? static_cast<double>(*p.late_updates) : p.updates;
    decay = static_cast<T>(1.0 - now * p.weight_decay);
    rate = static_cast<T>(now / (1.0 - pow(p.beta1, updates)));
    root = static_cast<T>(1.0 / sqrt(1.0 - pow(p.beta2, updates)));
    divisor = p.divisor ? static_cast<T>(*p.divisor) : T(1);
  }

  __device__ __forceinline__ void operator()(T& x, T g, T& m, T& v) const {
    g /= divisor;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    x = decay * x - rate * m / (device_sqrt(v) * root + eps);
  }
};

template <class T, int width>
__device__ __forceinline__ void step_at(const AdamWParams& p, const AdamWStep<T>& step, std::int64_t i) {
  T x[width], g[width], m[width], v[width];
  load(static_cast<const T*>(p.x) + i, x);
  load(static_cast<const T*>(p.gradient) + i, g);
  load(static_cast<const T*>(p.m) + i, m);
  load(static_cast<const T*>(p.v) + i, v);
#pragma unroll
  for (int k = 0; k < width; ++k) step(x[k], g[k], m[k], v[k]);
  store(static_cast<T*>(p.x) + i, x);
  store(static_cast<T*>(p.m) + i, m);
  store(static_cast<T*>(p.v) + i, v);
  if (p.narrow) store(static_cast<__nv_bfloat16*>(p.narrow) + i, x);
}

template <class T>
__global__ void __launch_bounds__(threads) adamw_kernel(AdamWParams p, bool packed) {
  if (p.skip && *p.skip != 0.0f) return;
  const AdamWStep<T> step(p);
  const std::int64_t packs = packed ? p.count / 4 : 0;
  const std::int64_t self = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  const std::int64_t all = static_cast<std::int64_t>(gridDim.x) * threads;
  for (std::int64_t i = self; i < packs; i += all) step_at<T, 4>(p, step, 4 * i);
  for (std::int64_t i = 4 * packs + self; i < p.count; i += all) step_at<T, 1>(p, step, i);
}

template <class T>
void launch(const AdamWParams& p, cudaStream_t stream) {
  const bool packed = packs_fit<T>(p.x, 0, 4) && packs_fit<T>(p.gradient, 0, 4) && packs_fit<T>(p.m, 0, 4) &&
                      packs_fit<T>(p.v, 0, 4) && packs_fit<__nv_bfloat16>(p.narrow, 0, 4);
  const std::int64_t pieces = packed ? (p.count + 3) / 4 : p.count;
  const std::int64_t blocks = std::min((pieces + threads - 1) / threads, most_blocks);
  VPD_LAUNCH(adamw_kernel<T>, grid_of(blocks), threads, 0, stream, p, packed);
}

}  // namespace

void adamw_cuda(const AdamWParams& p, void* stream) {
  if (p.count == 0) return;
  auto* on = static_cast<cudaStream_t>(stream);
  p.type == ElementType::float64 ? launch<double>(p, on) : launch<float>(p, on);
}

}  // namespace vpd
