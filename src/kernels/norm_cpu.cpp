// RMSNorm on the CPU, and the specification of norm.cu.
//
//   s = 1 / sqrt(mean(x²) + eps),  y = w x s
//   dx = s (w dy - x s² mean(w dy x)) + dsum,  dw += Σ_n dy x s
// x is the sum, where something is added first.
// The weight's gradient runs over rows in order on one thread (it is wanted in pretraining alone).

#include <cmath>

#include <c10/util/BFloat16.h>

#include "norm_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

template <class X, class T>
constexpr bool narrow = !std::is_same_v<X, T>;

template <class X, class Y, class T>
void forward(const NormParams& p, std::int64_t begin, std::int64_t end) {
  const T* __restrict w = static_cast<const T*>(p.weight);
  for (std::int64_t n = begin; n < end; ++n) {
    const X* __restrict x = static_cast<const X*>(p.x) + n * p.x_stride;
    Y* __restrict y = static_cast<Y*>(p.out) + n * p.out_stride;
    T square = 0;
    for (std::int64_t c = 0; c < p.columns; ++c) square += static_cast<T>(x[c]) * static_cast<T>(x[c]);
    const T s = 1 / std::sqrt(square / static_cast<T>(p.columns) + static_cast<T>(p.eps));
    if (w)
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c) y[c] = static_cast<Y>(w[c] * (static_cast<T>(x[c]) * s));
    else
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c) y[c] = static_cast<Y>(static_cast<T>(x[c]) * s);
    if (p.reciprocal) static_cast<T*>(p.reciprocal)[n] = s;
  }
}

template <class X, class Y, class T>
void backward(const NormParams& p, std::int64_t begin, std::int64_t end) {
  const T* __restrict w = static_cast<const T*>(p.weight);
  T* dw = static_cast<T*>(p.weight_gradient);
  for (std::int64_t n = begin; n < end; ++n) {
    const X* __restrict x = static_cast<const X*>(p.x) + n * p.x_stride;
    const Y* __restrict dy = static_cast<const Y*>(p.gradient) + n * p.gradient_stride;
    X* __restrict dx = static_cast<X*>(p.x_gradient) + n * p.columns;
    [[maybe_unused]] const X* __restrict dsum =
        p.sum_gradient ? static_cast<const X*>(p.sum_gradient) + n * p.columns : nullptr;
    const T s = static_cast<const T*>(p.reciprocal)[n];
    T dot = 0;
    if (w)
      for (std::int64_t c = 0; c < p.columns; ++c) dot += w[c] * static_cast<T>(dy[c]) * static_cast<T>(x[c]);
    else
      for (std::int64_t c = 0; c < p.columns; ++c) dot += static_cast<T>(dy[c]) * static_cast<T>(x[c]);
    const T shift = dot * s * s / static_cast<T>(p.columns);
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c) {
      const T scaled = w ? w[c] * static_cast<T>(dy[c]) : static_cast<T>(dy[c]);
      T total = s * (scaled - static_cast<T>(x[c]) * shift);
      if constexpr (narrow<X, T>) total += dsum ? static_cast<T>(dsum[c]) : T(0);  // and is rounded once
      dx[c] = static_cast<X>(total);
    }
    if (dw)
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c) dw[c] += static_cast<T>(dy[c]) * static_cast<T>(x[c]) * s;
  }
}

/// What the norm reads, into `sum`.
template <class X, class Y, class T>
void add(const NormParams& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t n = begin; n < end; ++n) {
    const X* __restrict x = static_cast<const X*>(p.x) + n * p.x_stride;
    const Y* __restrict added = static_cast<const Y*>(p.added) + n * p.columns;
    X* __restrict sum = static_cast<X*>(p.sum) + n * p.columns;
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c)
      sum[c] = static_cast<X>(static_cast<T>(x[c]) + static_cast<T>(added[c]));
  }
}

/// The gradient of a wide sum joins the norm's, for both of what was added up.
template <class X, class Y>
void join_gradients(const NormParams& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin * p.columns; i < end * p.columns; ++i) {
    X& dx = static_cast<X*>(p.x_gradient)[i];
    if (p.sum_gradient) dx += static_cast<const X*>(p.sum_gradient)[i];
    if (p.added_gradient) static_cast<Y*>(p.added_gradient)[i] = static_cast<Y>(dx);
  }
}

template <class X, class Y, class T>
void run(const NormParams& p, bool is_backward) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    if (!is_backward) {
      NormParams of = p;
      if (p.added) {
        add<X, Y, T>(p, begin, end);
        of.x = p.sum, of.x_stride = p.columns;
      }
      return forward<X, Y, T>(of, begin, end);
    }
    backward<X, Y, T>(p, begin, end);
    if constexpr (!narrow<X, T>) join_gradients<X, Y>(p, begin, end);
  };
  if (is_backward && p.weight_gradient) return body(0, p.rows);
  parallel_rows(p.rows, 4 * p.columns, body);
}

void dispatch(const NormParams& p, bool is_backward) {
  using ElementType::bfloat16, ElementType::float32, ElementType::float64;
  if (p.type == float64) return run<double, double, double>(p, is_backward);
  if (p.type == float32 && p.output_type == float32) return run<float, float, float>(p, is_backward);
  if (p.type == float32) return run<float, c10::BFloat16, float>(p, is_backward);
  if (p.output_type == float32) return run<c10::BFloat16, float, float>(p, is_backward);
  return run<c10::BFloat16, c10::BFloat16, float>(p, is_backward);
}

}  // namespace

void rms_norm_forward_cpu(const NormParams& params) { dispatch(params, false); }
void rms_norm_backward_cpu(const NormParams& params) { dispatch(params, true); }

}  // namespace vpd
