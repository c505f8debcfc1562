#pragma once

// One ascent of sources (method, section 6), which ascent.hpp and gate.hpp share. Formulas in ascent_cpu.cpp.

#include <cmath>
#include <cstdint>
#include <type_traits>

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

/// Sources in 16 bits are multiples of 1 / source_levels; others are what they are.
inline constexpr float source_levels = 32767.0f;
template <class T>
VPD_HOST_DEVICE T source_of(T kept) {
  return kept;
}
VPD_HOST_DEVICE float source_of(std::int16_t kept) { return static_cast<float>(kept) * (1 / source_levels); }
/// The nearest one to x in [0, 1]; 0 to NaN.
VPD_HOST_DEVICE std::int16_t compact_source(float x) {
  return x > 0 ? static_cast<std::int16_t>(x * source_levels + 0.5f) : std::int16_t{0};
}

/// `count` sources x climb along d on the CPU; m and v are their moments, or unused for sign steps. Compact
/// sources have 16 bits and moments of a narrower type.
template <class T, class Source, class Moment>
void climb(const AscentStep<T>& step, Source* __restrict x, const T* __restrict d, Moment* __restrict m,
           Moment* __restrict v, std::int64_t count) {
  const auto keep = [](T moved) {
    if constexpr (std::is_same_v<Source, T>) {
      return moved;
    } else {
      return compact_source(moved);
    }
  };
  if (step.adam) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      T m_i = static_cast<T>(m[i]), v_i = static_cast<T>(v[i]);
      x[i] = keep(step.by_adam(source_of(x[i]), d[i], m_i, v_i));
      m[i] = static_cast<Moment>(m_i), v[i] = static_cast<Moment>(v_i);
    }
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) x[i] = keep(step.by_sign(source_of(x[i]), d[i]));
  }
}

}  // namespace vpd
