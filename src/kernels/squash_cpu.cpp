// Leaky squashings and power sums on the CPU, and the specification of squash.cu.
//
// x^p is exp(p log x): x = g + eps is at least eps > 0. Column sums run over blocks of rows in float32, and
// over blocks in float64, so that neither the number of positions nor the order of threads shows in the
// result.

#include <algorithm>
#include <mutex>
#include <vector>

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
void squash(const SquashParams& p) {
  const auto slope = static_cast<T>(p.slope);
  parallel_rows(p.count, 1, [&](std::int64_t begin, std::int64_t end) {
    const T* __restrict z = static_cast<const T*>(p.z);
    const T* __restrict gradient = static_cast<const T*>(p.gradient);
    T* __restrict out = static_cast<T*>(p.out);
    if (!gradient && p.upper) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = upper_value(z[i], slope);
    } else if (!gradient) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T raised = z[i] < 0 ? T(0) : z[i];
        out[i] = raised > 1 ? T(1) : raised;
      }
    } else if (p.upper) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = gradient[i] * upper_derivative(z[i], slope);
    } else {
      for (std::int64_t i = begin; i < end; ++i) out[i] = lower_derivative(gradient[i], z[i], slope);
    }
  });
}

template <class T>
void power_sums(const PowerSumsParams& p) {
  constexpr std::int64_t block = 64;
  const auto slope = static_cast<T>(p.slope), power = static_cast<T>(p.p.get()), eps = static_cast<T>(p.eps);
  // Threads take columns, so that each sum has one order.
  parallel_rows(p.columns, 8 * p.rows, [&](std::int64_t begin, std::int64_t end) {
    std::vector<T> partial(static_cast<std::size_t>(end - begin));
    for (std::int64_t first = 0; first < p.rows; first += block) {
      std::fill(partial.begin(), partial.end(), T(0));
      for (std::int64_t n = first; n < std::min(p.rows, first + block); ++n) {
        const T* __restrict z = static_cast<const T*>(p.z) + n * p.z_stride + begin;
        T* __restrict sum = partial.data();
        for (std::int64_t c = 0; c < end - begin; ++c)
          sum[c] += vexp(power * vlog(upper_value(z[c], slope) + eps));
      }
      for (std::int64_t c = begin; c < end; ++c)
        p.sums[c] += static_cast<double>(partial[static_cast<std::size_t>(c - begin)]);
    }
  });
}

template <class T>
void backward(const SquashBackwardParams& p) {
  const auto slope = static_cast<T>(p.slope);
  const auto columns = static_cast<std::size_t>(p.columns);
  std::vector<T> weights(columns * max_power_terms);
  for (int k = 0; k < p.terms; ++k)
    for (std::size_t c = 0; c < columns; ++c)
      weights[columns * static_cast<std::size_t>(k) + c] = static_cast<T>(p.weight[k][c] * p.p[k].get());
  parallel_rows(p.rows, 8 * p.columns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const T* __restrict z = static_cast<const T*>(p.z) + n * p.columns;
      const T* __restrict lower = static_cast<const T*>(p.lower_gradient) + n * p.columns;
      T* __restrict out = static_cast<T*>(p.out) + n * p.columns;
      for (std::int64_t c = 0; c < p.columns; ++c) out[c] = lower_derivative(lower[c], z[c], slope);
      for (int k = 0; k < p.terms; ++k) {
        const T* __restrict weight = weights.data() + columns * static_cast<std::size_t>(k);
        const auto power = static_cast<T>(p.p[k].get() - 1), eps = static_cast<T>(p.eps[k]);
        for (std::int64_t c = 0; c < p.columns; ++c) {
          const T derivative = weight[c] * vexp(power * vlog(upper_value(z[c], slope) + eps));
          const T through = upper_derivative(z[c], slope);
          out[c] += through == 0 ? T(0) : derivative * through;
        }
      }
    }
  });
}

}  // namespace

void squash_cpu(const SquashParams& params) {
  params.type == ElementType::float64 ? squash<double>(params) : squash<float>(params);
}
void power_sums_cpu(const PowerSumsParams& params) {
  params.type == ElementType::float64 ? power_sums<double>(params) : power_sums<float>(params);
}
void squash_backward_cpu(const SquashBackwardParams& params) {
  params.type == ElementType::float64 ? backward<double>(params) : backward<float>(params);
}

}  // namespace vpd
