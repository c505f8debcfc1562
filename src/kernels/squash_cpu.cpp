// Leaky squashings and sums of penalties on the CPU, and the specification of squash.cu.
//
// x^p is exp(p log x): x = g + eps is at least eps > 0. Column sums run over blocks of rows in float32, and
// over blocks in float64, so that neither the number of positions nor the order of threads shows in the
// result.

#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "squash_kernel.hpp"
#include "vector_math.hpp"

namespace vpd {
namespace {

template <class T>
T upper_value(T z, T slope) {
  const T clamped = z < 0 ? T(0) : z;
  return z > 1 ? 1 + slope * (z - 1) : clamped;
}

template <class T>
T upper_derivative(T z, T slope) {
  // clamp's derivative is 1 at both ends, as LibTorch has it
  return z > 1 ? slope : (z >= 0 ? T(1) : T(0));
}

template <class T>
T lower_derivative(T gradient, T z, T slope) {
  const T below = gradient < 0 ? slope * gradient : T(0);
  const T inside = z <= 1 ? gradient : T(0);
  return z <= 0 ? below : inside;
}

template <class T>
struct Power {
  T p, eps;
  explicit Power(const Penalty& penalty)
      : p(static_cast<T>(penalty.p.get())), eps(static_cast<T>(penalty.eps)) {}
  T operator()(T g) const { return vexp(p * vlog(g + eps)); }
};

template <class T>
struct SmoothL0 {
  T gamma;
  explicit SmoothL0(const Penalty& penalty) : gamma(static_cast<T>(penalty.gamma.get())) {}
  T operator()(T g) const { return g * g / (g * g + gamma * gamma); }
};

/// φ'(g) without the factor that slope_factor() moves into the weights.
template <class T>
struct PowerSlope {
  T p, eps;
  explicit PowerSlope(const Penalty& penalty)
      : p(static_cast<T>(penalty.p.get() - 1)), eps(static_cast<T>(penalty.eps)) {}
  T operator()(T g) const { return vexp(p * vlog(g + eps)); }
};

template <class T>
struct SmoothL0Slope {
  T gamma;
  explicit SmoothL0Slope(const Penalty& penalty) : gamma(static_cast<T>(penalty.gamma.get())) {}
  T operator()(T g) const {
    const T below = g * g + gamma * gamma;
    return g / (below * below);
  }
};

double slope_factor(const Penalty& penalty) {
  const double gamma = penalty.gamma.get();
  return penalty.kind == PenaltyKind::power ? penalty.p.get() : 2.0 * gamma * gamma;
}

template <class Z, class T, class Value>
void penalty_sums(const PenaltySumsParams& p, const Value& value) {
  constexpr std::int64_t block = 64;
  const auto slope = static_cast<T>(p.slope);
  // Threads take columns, so that each sum has one order.
  parallel_rows(p.columns, 8 * p.rows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> partial(static_cast<std::size_t>(end - begin));
    for (std::int64_t first = 0; first < p.rows; first += block) {
      std::fill(partial.begin(), partial.end(), T(0));
      for (std::int64_t n = first; n < std::min(p.rows, first + block); ++n) {
        const Z* __restrict z = static_cast<const Z*>(p.z) + n * p.z_stride + begin;
        T* __restrict sum = partial.data();
#pragma GCC ivdep
        for (std::int64_t c = 0; c < end - begin; ++c)
          sum[c] += value(upper_value(static_cast<T>(z[c]), slope));
      }
#pragma GCC ivdep
      for (std::int64_t c = begin; c < end; ++c)
        p.sums[c] += static_cast<double>(partial[static_cast<std::size_t>(c - begin)]);
    }
  });
}

template <class Z, class T>
void penalty_sums(const PenaltySumsParams& p) {
  p.penalty.kind == PenaltyKind::power ? penalty_sums<Z, T>(p, Power<T>(p.penalty))
                                       : penalty_sums<Z, T>(p, SmoothL0<T>(p.penalty));
}

template <class T, class Slope>
void add_penalty(std::int64_t columns, const T* __restrict z, const T* __restrict weight, T slope,
                 const Slope& slope_of, T* __restrict out) {
  for (std::int64_t c = 0; c < columns; ++c) {
    const T derivative = weight[c] * slope_of(upper_value(z[c], slope));
    const T through = upper_derivative(z[c], slope);
    out[c] += through == 0 ? T(0) : derivative * through;
  }
}

/// Z: of z and its gradient; T: of the arithmetic.
template <class Z, class T>
void backward(const SquashBackwardParams& p) {
  constexpr bool narrow = !std::is_same_v<Z, T>;
  const auto slope = static_cast<T>(p.slope);
  const auto columns = static_cast<std::size_t>(p.columns);
  std::vector<T> weights(columns * most_penalties);
  for (int k = 0; k < p.penalties; ++k)
#pragma GCC ivdep
    for (std::size_t c = 0; c < columns; ++c)
      weights[columns * static_cast<std::size_t>(k) + c] =
          static_cast<T>(p.weight[k][c] * slope_factor(p.penalty[k]));
  parallel_rows(p.rows, 8 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> wide(narrow ? 2 * columns : 0);  // a row of z, and of its gradient
    unsigned long long active = 0;
    for (std::int64_t n = begin; n < end; ++n) {
      const Z* z_row = static_cast<const Z*>(p.z) + n * p.columns;
      const T* __restrict lower = static_cast<const T*>(p.lower_gradient) + n * p.columns;
      Z* out_row = static_cast<Z*>(p.out) + n * p.columns;
      const T* __restrict z;
      T* __restrict out;
      if constexpr (narrow) {
        std::copy_n(z_row, columns, wide.data());
        z = wide.data(), out = wide.data() + columns;
      } else {
        z = z_row, out = out_row;
      }
#pragma GCC ivdep
      for (std::int64_t c = 0; c < p.columns; ++c) out[c] = lower_derivative(lower[c], z[c], slope);
      if (p.active)
        for (std::int64_t c = 0; c < p.columns; ++c) active += z[c] > 0 ? 1 : 0;
      for (int k = 0; k < p.penalties; ++k) {
        const T* weight = weights.data() + columns * static_cast<std::size_t>(k);
        if (p.penalty[k].kind == PenaltyKind::power) {
          add_penalty(p.columns, z, weight, slope, PowerSlope<T>(p.penalty[k]), out);
        } else {
          add_penalty(p.columns, z, weight, slope, SmoothL0Slope<T>(p.penalty[k]), out);
        }
      }
      if constexpr (narrow) std::copy_n(out, columns, out_row);
    }
    if (p.active) std::atomic_ref(*p.active).fetch_add(active, std::memory_order_relaxed);
  });
}

}  // namespace

void penalty_sums_cpu(const PenaltySumsParams& params) {
  for_element<c10::BFloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    penalty_sums<Real, Wide<Real>>(params);
  });
}
void squash_backward_cpu(const SquashBackwardParams& params) {
  for_element<c10::BFloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    backward<Real, Wide<Real>>(params);
  });
}

}  // namespace vpd
