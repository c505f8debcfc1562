#pragma once

// One ascent of sources (method, section 6), which ascent.hpp and gate.hpp share. Formulas in ascent_cpu.cpp.

#include <cmath>
#include <cstdint>

#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// What an ascent is made with, as kernels get it.
struct AscentFormula {
  bool adam = true;  // false: sign steps
  double beta1 = 0.0;
  double beta2 = 0.0;
  double eps = 0.0;
  LateNumber rate = 0.0;
  LateNumber unbias1 = 1.0;  // 1 / (1 - beta1^t)
  LateNumber unbias2 = 1.0;
  bool clamp = true;
};

/// The same in the numbers of the sources' type. Late numbers are read where it is made.
template <class T>
struct AscentStep {
  bool adam;
  T beta1, beta2, eps, rate, unbias1, unbias2;
  T low, high;  // bounds as values, so that a step without them is the same vector code

  VPD_HOST_DEVICE explicit AscentStep(const AscentFormula& f)
      : adam(f.adam),
        beta1(static_cast<T>(f.beta1)),
        beta2(static_cast<T>(f.beta2)),
        eps(static_cast<T>(f.eps)),
        rate(static_cast<T>(f.rate.get())),
        unbias1(static_cast<T>(f.unbias1.get())),
        unbias2(static_cast<T>(f.unbias2.get())),
        low(f.clamp ? T(0) : -static_cast<T>(INFINITY)),
        high(f.clamp ? T(1) : static_cast<T>(INFINITY)) {}

  /// Corrects Adam's bias for ascent number `t`.
  VPD_HOST_DEVICE void unbias(const AscentFormula& f, double t) {
    unbias1 = static_cast<T>(1 / (1 - std::pow(f.beta1, t)));
    unbias2 = static_cast<T>(1 / (1 - std::pow(f.beta2, t)));
  }

  /// NaN stays NaN.
  VPD_HOST_DEVICE T bounded(T x) const {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
  VPD_HOST_DEVICE T by_sign(T x, T d) const {
    const T sign = d > 0 ? T(1) : (d < 0 ? T(-1) : T(0));
    return bounded(x + rate * sign);
  }
  VPD_HOST_DEVICE T by_adam(T x, T d, T& m, T& v) const {
    m = beta1 * m + (1 - beta1) * d;
    v = beta2 * v + (1 - beta2) * d * d;
    return bounded(x + rate * (m * unbias1) / (std::sqrt(v * unbias2) + eps));
  }
};

/// `count` sources x climb along d on the CPU; m and v are their moments, or unused for sign steps.
template <class T>
void climb(const AscentStep<T>& step, T* __restrict x, const T* __restrict d, T* __restrict m,
           T* __restrict v, std::int64_t count) {
  if (step.adam) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) x[i] = step.by_adam(x[i], d[i], m[i], v[i]);
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) x[i] = step.by_sign(x[i], d[i]);
  }
}

}  // namespace vpd
