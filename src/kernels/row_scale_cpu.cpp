// Rows scaled on the CPU, and the specification of row_scale.cu: dots[n] = Σ y[n] x[n], then y[n] = scale[n]
// y[n].

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "row_scale_kernel.hpp"

namespace vpd {
namespace {

template <class Real>
void run(const RowScaleParams& p, std::int64_t begin, std::int64_t end) {
  using T = Wide<Real>;
  for (std::int64_t n = begin; n < end; ++n) {
    Real* __restrict y = static_cast<Real*>(p.y) + n * p.y_stride;
    const T scale = static_cast<const T*>(p.scale)[n];
    if (p.x) {
      const Real* __restrict x = static_cast<const Real*>(p.x) + n * p.x_stride;
      T dot = 0;
      for (std::int64_t c = 0; c < p.columns; ++c) dot += static_cast<T>(y[c]) * static_cast<T>(x[c]);
      static_cast<T*>(p.dots)[n] = dot;
    }
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c) y[c] = static_cast<Real>(scale * static_cast<T>(y[c]));
  }
}

}  // namespace

void row_scale_cpu(const RowScaleParams& p) {
  parallel_rows(p.rows, p.columns, [&](std::int64_t begin, std::int64_t end) {
    for_element<c10::BFloat16>(p.type, [&](auto real) { run<decltype(real)>(p, begin, end); });
  });
}

}  // namespace vpd
