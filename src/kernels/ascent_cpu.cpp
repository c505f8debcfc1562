// Uniform fills and ascent steps on the CPU, and the specification of ascent.cu.
//
//   m = β1 m + (1 - β1) d,  v = β2 v + (1 - β2) d²,  x += rate c1 m / (sqrt(c2 v) + ε),  or  x += rate
//   sign(d)
// clamped to [0, 1] afterwards. Elementwise; x, m and v are overwritten.

#include <cmath>
#include <limits>

#include "ascent_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

/// Bounds as values, so that a step without them is the same vector code.
template <class T>
struct Bounds {
  T low, high;
  explicit Bounds(bool clamp)
      : low(clamp ? T(0) : -std::numeric_limits<T>::infinity()),
        high(clamp ? T(1) : std::numeric_limits<T>::infinity()) {}
  T operator()(T x) const {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};

template <class T>
void fill(const FillUniformParams& p) {
  const RandomKey key = p.key.get();
  parallel_rows(p.rows, 8 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      T* x = static_cast<T*>(p.x) + n * p.stride;
      const auto row = static_cast<std::uint64_t>(n + p.first_row);
      for (std::int64_t c = 0; c < p.columns; c += 4) {
        std::uint32_t w[4] = {static_cast<std::uint32_t>(c / 4), static_cast<std::uint32_t>(row),
                              static_cast<std::uint32_t>(row >> 32), 0};
        philox(key, w[0], w[1], w[2], w[3]);
        for (std::int64_t i = 0; i < 4 && c + i < p.columns; ++i) x[c + i] = static_cast<T>(to_uniform(w[i]));
      }
    }
  });
}

template <class T>
void sign_steps(const AscentParams& p, std::int64_t begin, std::int64_t end) {
  const auto rate = static_cast<T>(p.rate.get());
  const Bounds<T> bounds(p.clamp);
  T* __restrict x = static_cast<T*>(p.x);
  const T* __restrict d = static_cast<const T*>(p.gradient);
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    const T sign = d[i] > 0 ? T(1) : (d[i] < 0 ? T(-1) : T(0));
    x[i] = bounds(x[i] + rate * sign);
  }
}

template <class T>
void adam_steps(const AscentParams& p, double unbias1, double unbias2, std::int64_t begin, std::int64_t end) {
  const auto b1 = static_cast<T>(p.beta1), b2 = static_cast<T>(p.beta2), eps = static_cast<T>(p.eps);
  const auto rate = static_cast<T>(p.rate.get()), c1 = static_cast<T>(unbias1), c2 = static_cast<T>(unbias2);
  const Bounds<T> bounds(p.clamp);
  T* __restrict x = static_cast<T*>(p.x);
  const T* __restrict d = static_cast<const T*>(p.gradient);
  T* __restrict m = static_cast<T*>(p.m);
  T* __restrict v = static_cast<T*>(p.v);
#pragma GCC ivdep
  for (std::int64_t i = begin; i < end; ++i) {
    m[i] = b1 * m[i] + (1 - b1) * d[i];
    v[i] = b2 * v[i] + (1 - b2) * d[i] * d[i];
    x[i] = bounds(x[i] + rate * (m[i] * c1) / (std::sqrt(v[i] * c2) + eps));
  }
}

template <class T>
void step(const AscentParams& p) {
  if (p.counts) {
    parallel_rows(p.count / p.part, 2 * p.part, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t part = begin; part < end; ++part) {
        const auto t = static_cast<double>(p.counts[part]);
        adam_steps<T>(p, 1 / (1 - std::pow(p.beta1, t)), 1 / (1 - std::pow(p.beta2, t)), part * p.part,
                      (part + 1) * p.part);
      }
    });
    return;
  }
  parallel_rows(p.count, 2, [&](std::int64_t begin, std::int64_t end) {
    p.m ? adam_steps<T>(p, p.unbias1.get(), p.unbias2.get(), begin, end) : sign_steps<T>(p, begin, end);
  });
}

}  // namespace

void fill_uniform_cpu(const FillUniformParams& params) {
  params.type == ElementType::float64 ? fill<double>(params) : fill<float>(params);
}
void ascend_cpu(const AscentParams& params) {
  params.type == ElementType::float64 ? step<double>(params) : step<float>(params);
}

}  // namespace vpd
