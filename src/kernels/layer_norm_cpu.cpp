// LayerNorm on the CPU. On CUDA LibTorch's own operation computes the same (layer_norm.cpp).
//
//   s = 1 / sqrt(mean((x - m)²) + eps),  m = mean(x),  x̂ = (x - m) s,  y = w x̂ + b
//   dx = s (w dy - mean(w dy) - x̂ mean(w dy x̂))
// Two passes over a row: the variance from squares alone would cancel where the mean is large.

#include <cmath>

#include <c10/util/BFloat16.h>

#include "layer_norm_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

template <class Y, class T>
void forward(const LayerNormParams& p, std::int64_t begin, std::int64_t end) {
  const T* __restrict w = static_cast<const T*>(p.weight);
  const T* __restrict b = static_cast<const T*>(p.bias);
  const auto d = static_cast<T>(p.columns);
  for (std::int64_t n = begin; n < end; ++n) {
    const T* __restrict x = static_cast<const T*>(p.x) + n * p.x_stride;
    Y* __restrict y = static_cast<Y*>(p.out) + n * p.columns;
    T sum = 0, square = 0;
    for (std::int64_t c = 0; c < p.columns; ++c) sum += x[c];
    const T mean = sum / d;
    for (std::int64_t c = 0; c < p.columns; ++c) square += (x[c] - mean) * (x[c] - mean);
    const T s = 1 / std::sqrt(square / d + static_cast<T>(p.eps));
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c) y[c] = static_cast<Y>(w[c] * ((x[c] - mean) * s) + b[c]);
    if (!p.mean) continue;
    static_cast<T*>(p.mean)[n] = mean;
    static_cast<T*>(p.reciprocal)[n] = s;
  }
}

template <class Y, class T>
void backward(const LayerNormParams& p, std::int64_t begin, std::int64_t end) {
  const T* __restrict w = static_cast<const T*>(p.weight);
  const auto d = static_cast<T>(p.columns);
  for (std::int64_t n = begin; n < end; ++n) {
    const T* __restrict x = static_cast<const T*>(p.x) + n * p.x_stride;
    const Y* __restrict dy = static_cast<const Y*>(p.gradient) + n * p.gradient_stride;
    T* __restrict dx = static_cast<T*>(p.x_gradient) + n * p.columns;
    const T mean = static_cast<const T*>(p.mean)[n], s = static_cast<const T*>(p.reciprocal)[n];
    T sum = 0, dot = 0;
    for (std::int64_t c = 0; c < p.columns; ++c) {
      const T scaled = w[c] * static_cast<T>(dy[c]);
      sum += scaled;
      dot += scaled * (x[c] - mean);
    }
    const T shift = sum / d, slope = dot * s * s / d;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c)
      dx[c] = s * (w[c] * static_cast<T>(dy[c]) - shift - (x[c] - mean) * slope);
  }
}

template <class Y, class T>
void run(const LayerNormParams& p, bool is_backward) {
  parallel_rows(p.rows, 6 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    is_backward ? backward<Y, T>(p, begin, end) : forward<Y, T>(p, begin, end);
  });
}

void dispatch(const LayerNormParams& p, bool is_backward) {
  if (p.type == ElementType::float64) return run<double, double>(p, is_backward);
  if (p.output_type == ElementType::float32) return run<float, float>(p, is_backward);
  return run<c10::BFloat16, float>(p, is_backward);
}

}  // namespace

void layer_norm_forward_cpu(const LayerNormParams& params) { dispatch(params, false); }
void layer_norm_backward_cpu(const LayerNormParams& params) { dispatch(params, true); }

}  // namespace vpd
