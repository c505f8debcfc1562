#pragma once

// One ascent of sources (method, section 6), which ascent.hpp and gate.hpp share. Formulas in ascent_cpu.cpp.

#include <cmath>
#include <cstdint>

#include "vpd/kernels/ascent_rule.hpp"

namespace vpd {

/// A rule in the numbers of the sources' type. Late numbers are read where this is made.
template <class T>
struct AscentStep {
  bool adam;
  T beta1, beta2, eps, rate, unbias1, unbias2;
  T low, high;  // bounds as values, so that a step without them is the same vector code

  VPD_HOST_DEVICE explicit AscentStep(const AscentRule& rule)
      : adam(rule.adam),
        beta1(static_cast<T>(rule.beta1)),
        beta2(static_cast<T>(rule.beta2)),
        eps(static_cast<T>(rule.eps)),
        rate(static_cast<T>(rule.rate.get())),
        unbias1(static_cast<T>(rule.unbias1.get())),
        unbias2(static_cast<T>(rule.unbias2.get())),
        low(rule.clamp ? T(0) : -static_cast<T>(INFINITY)),
        high(rule.clamp ? T(1) : static_cast<T>(INFINITY)) {}

  /// Corrects Adam's bias for ascent number `t`.
  VPD_HOST_DEVICE void unbias(const AscentRule& rule, double t) {
    unbias1 = static_cast<T>(1 / (1 - std::pow(rule.beta1, t)));
    unbias2 = static_cast<T>(1 / (1 - std::pow(rule.beta2, t)));
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
