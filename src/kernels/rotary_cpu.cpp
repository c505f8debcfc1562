// Rotary embedding on the CPU, and the specification of rotary.cu: (a, b) -> (a cos - b sin, b cos + a sin)
// for each pair; the inverse turns by the opposite angle.

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "rotary_kernel.hpp"

namespace vpd {
namespace {

template <class Real, class T>
void rows(const RotaryParams& p, std::int64_t begin, std::int64_t end) {
  const T sign = p.inverse ? T(-1) : T(1);
  const std::int64_t width = 2 * p.half * p.heads;
  for (std::int64_t n = begin; n < end; ++n) {
    const T* __restrict cosine = static_cast<const T*>(p.cosine) + (n % p.time_length) * p.half;
    const T* __restrict sine = static_cast<const T*>(p.sine) + (n % p.time_length) * p.half;
    for (std::int64_t k = 0; k < p.heads; ++k) {
      const Real* __restrict x = static_cast<const Real*>(p.x) + n * p.x_stride + 2 * p.half * k;
      Real* __restrict out = static_cast<Real*>(p.out) + n * width + 2 * p.half * k;
      if (p.adjacent) {
#pragma GCC ivdep
        for (std::int64_t j = 0; j < p.half; ++j) {
          const T a = static_cast<T>(x[2 * j]), b = static_cast<T>(x[2 * j + 1]), s = sign * sine[j];
          out[2 * j] = static_cast<Real>(a * cosine[j] - b * s);
          out[2 * j + 1] = static_cast<Real>(b * cosine[j] + a * s);
        }
      } else {
#pragma GCC ivdep
        for (std::int64_t j = 0; j < p.half; ++j) {
          const T a = static_cast<T>(x[j]), b = static_cast<T>(x[p.half + j]), s = sign * sine[j];
          out[j] = static_cast<Real>(a * cosine[j] - b * s);
          out[p.half + j] = static_cast<Real>(b * cosine[j] + a * s);
        }
      }
    }
  }
}

}  // namespace

void rotary_cpu(const RotaryParams& p) {
  parallel_rows(p.rows, 4 * p.half * p.heads, [&](std::int64_t begin, std::int64_t end) {
    for_element<c10::BFloat16>(p.type, [&](auto real) {
      using Real = decltype(real);
      rows<Real, Wide<Real>>(p, begin, end);
    });
  });
}

}  // namespace vpd
