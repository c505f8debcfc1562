// The gated activation of an MLP on the CPU. On CUDA LibTorch's own operations compute the same (swiglu.cpp).
//
//   σ = 1 / (1 + exp(-g)),  y = g σ u
//   dg = dy u σ (1 + g (1 - σ)),  du = dy g σ

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "swiglu_kernel.hpp"
#include "vector_math.hpp"

namespace vpd {
namespace {

template <class X, class T>
void forward(const SwigluParams& p, std::int64_t begin, std::int64_t end) {
  const X* __restrict gate = static_cast<const X*>(p.gate);
  const X* __restrict up = static_cast<const X*>(p.up);
  X* __restrict out = static_cast<X*>(p.out);
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    const T g = static_cast<T>(gate[i]), sigma = 1 / (1 + vexp(-g));
    out[i] = static_cast<X>(g * sigma * static_cast<T>(up[i]));
  }
}

template <class X, class T>
void backward(const SwigluParams& p, std::int64_t begin, std::int64_t end) {
  const X* __restrict gate = static_cast<const X*>(p.gate);
  const X* __restrict up = static_cast<const X*>(p.up);
  const X* __restrict gradient = static_cast<const X*>(p.gradient);
  X* __restrict gate_gradient = static_cast<X*>(p.gate_gradient);
  X* __restrict up_gradient = static_cast<X*>(p.up_gradient);
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    const T g = static_cast<T>(gate[i]), dy = static_cast<T>(gradient[i]), sigma = 1 / (1 + vexp(-g));
    gate_gradient[i] = static_cast<X>(dy * static_cast<T>(up[i]) * sigma * (1 + g * (1 - sigma)));
    up_gradient[i] = static_cast<X>(dy * g * sigma);
  }
}

template <class X, class T>
void run(const SwigluParams& p, bool is_backward) {
  constexpr std::int64_t cost_of_exponential = 8;
  parallel_rows(p.count, cost_of_exponential, [&](std::int64_t begin, std::int64_t end) {
    is_backward ? backward<X, T>(p, begin, end) : forward<X, T>(p, begin, end);
  });
}

void dispatch(const SwigluParams& p, bool is_backward) {
  for_element<c10::BFloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    run<Real, Wide<Real>>(p, is_backward);
  });
}

}  // namespace

void swiglu_forward_cpu(const SwigluParams& params) { dispatch(params, false); }
void swiglu_backward_cpu(const SwigluParams& params) { dispatch(params, true); }

}  // namespace vpd
