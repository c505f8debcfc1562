// RMSNorm on CUDA; formulas in norm_cpu.cpp.
//
// One block a row. out, reciprocal and x_gradient are overwritten, weight_gradient is added to, by column
// sums in two stages. Arithmetic in float32 (float64 for float64). Deterministic.

#include "column_sums.cuh"
#include "device.cuh"
#include "norm_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;

/// The weights of `width` columns, 1 where there are none.
template <int width, class T>
__device__ __forceinline__ void load_weight(const T* weight, std::int64_t c, T (&w)[width]) {
  if (weight) {
    load(weight + c, w);
    return;
  }
#pragma unroll
  for (int i = 0; i < width; ++i) w[i] = T(1);
}

template <class X, class Y>
__global__ void __launch_bounds__(most_threads) rms_norm_forward_kernel(NormParams p, bool packed) {
  using T = Wide<X>;
  constexpr int width = pack_width<X, Y>;
  __shared__ T scratch[most_threads / warp_size];
  const T* weight = static_cast<const T*>(p.weight);
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    const X* x_row = static_cast<const X*>(p.x) + n * p.x_stride;
    Y* out = static_cast<Y*>(p.out) + n * p.out_stride;
    const Y* added = p.added ? static_cast<const Y*>(p.added) + n * p.columns : nullptr;
    X* sum = static_cast<X*>(p.sum) + n * p.columns;
    T square = 0;
    for_each_column<width>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T x[columns.value], more[columns.value];
      load(x_row + c, x);
      if (added) {
        load(added + c, more);
#pragma unroll
        for (int i = 0; i < columns.value; ++i) x[i] = convert<T>(convert<X>(x[i] + more[i]));
        store(sum + c, x);
      }
#pragma unroll
      for (int i = 0; i < columns.value; ++i) square += x[i] * x[i];
    });
    if (added) x_row = sum;  // a thread reads what it wrote
    square = block_reduce(square, Sum{}, scratch);
    const T s = 1 / device_sqrt(square / static_cast<T>(p.columns) + static_cast<T>(p.eps));
    for_each_column<width>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T x[columns.value], w[columns.value];
      load(x_row + c, x);
      load_weight(weight, c, w);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) x[i] = w[i] * (x[i] * s);
      store(out + c, x);
    });
    if (p.reciprocal && threadIdx.x == 0) static_cast<T*>(p.reciprocal)[n] = s;
  }
}

template <class X, class Y>
__global__ void __launch_bounds__(most_threads) rms_norm_backward_kernel(NormParams p, bool packed) {
  using T = Wide<X>;
  constexpr int width = pack_width<X, Y>;
  __shared__ T scratch[most_threads / warp_size];
  const T* weight = static_cast<const T*>(p.weight);
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    const X* x_row = static_cast<const X*>(p.x) + n * p.x_stride;
    const Y* dy_row = static_cast<const Y*>(p.gradient) + n * p.gradient_stride;
    X* dx_row = static_cast<X*>(p.x_gradient) + n * p.columns;
    const X* dsum_row = p.sum_gradient ? static_cast<const X*>(p.sum_gradient) + n * p.columns : nullptr;
    Y* dadded_row = p.added_gradient ? static_cast<Y*>(p.added_gradient) + n * p.columns : nullptr;
    const T s = static_cast<const T*>(p.reciprocal)[n];
    T dot = 0;
    for_each_column<width>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T x[columns.value], dy[columns.value], w[columns.value];
      load(x_row + c, x);
      load(dy_row + c, dy);
      load_weight(weight, c, w);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) dot += w[i] * dy[i] * x[i];
    });
    dot = block_reduce(dot, Sum{}, scratch);
    const T shift = dot * s * s / static_cast<T>(p.columns);
    for_each_column<width>(p.columns, 0, packed, [&](std::int64_t c, auto columns) {
      T x[columns.value], dy[columns.value], w[columns.value], dsum[columns.value] = {};
      load(x_row + c, x);
      load(dy_row + c, dy);
      load_weight(weight, c, w);
      if (dsum_row) load(dsum_row + c, dsum);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) x[i] = s * (w[i] * dy[i] - x[i] * shift) + dsum[i];
      store(dx_row + c, x);
      if (dadded_row) store(dadded_row + c, x);
    });
  }
}

/// What row n gives to the gradient of weight c.
template <class X, class Y>
struct WeightGradient {
  NormParams p;

  __device__ Wide<X> operator()(std::int64_t n, std::int64_t c) const {
    using T = Wide<X>;
    const T x = convert<T>(static_cast<const X*>(p.x)[n * p.x_stride + c]);
    const T dy = convert<T>(static_cast<const Y*>(p.gradient)[n * p.gradient_stride + c]);
    return dy * x * static_cast<const T*>(p.reciprocal)[n];
  }
  __device__ const WeightGradient& prepared() const { return *this; }
};

template <class X, class Y>
void launch(const NormParams& p, bool backward, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  using T = Wide<X>;
  constexpr int width = pack_width<X, Y>;
  const bool packed =
      packs_fit<X>(p.x, p.x_stride, width) && packs_fit<T>(p.weight, 0, width) &&
      packs_fit<Y>(p.out, p.out_stride, width) && packs_fit<Y>(p.gradient, p.gradient_stride, width) &&
      packs_fit<X>(p.x_gradient, p.columns, width) && packs_fit<Y>(p.added, p.columns, width) &&
      packs_fit<X>(p.sum, p.columns, width) && packs_fit<X>(p.sum_gradient, p.columns, width) &&
      packs_fit<Y>(p.added_gradient, p.columns, width);
  const unsigned grid = grid_of(p.rows), threads = threads_of((p.columns + width - 1) / width, most_threads);
  if (!backward) {
    VPD_LAUNCH((rms_norm_forward_kernel<X, Y>), grid, threads, 0, stream, p, packed);
    return;
  }
  VPD_LAUNCH((rms_norm_backward_kernel<X, Y>), grid, threads, 0, stream, p, packed);
  if (p.weight_gradient) {
    add_column_sums<T>(p.rows, p.columns, p.workspace, static_cast<T*>(p.weight_gradient),
                       WeightGradient<X, Y>{p}, stream);
  }
}

void dispatch(const NormParams& p, bool backward, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  const bool narrow_output = p.output_type == ElementType::bfloat16;
  switch (p.type) {
    case ElementType::float64:
      return launch<double, double>(p, backward, on);
    case ElementType::float32:
      return narrow_output ? launch<float, __nv_bfloat16>(p, backward, on)
                           : launch<float, float>(p, backward, on);
    case ElementType::bfloat16:
      return narrow_output ? launch<__nv_bfloat16, __nv_bfloat16>(p, backward, on)
                           : launch<__nv_bfloat16, float>(p, backward, on);
  }
}

}  // namespace

void rms_norm_forward_cuda(const NormParams& params, void* stream) { dispatch(params, false, stream); }
void rms_norm_backward_cuda(const NormParams& params, void* stream) { dispatch(params, true, stream); }

}  // namespace vpd
