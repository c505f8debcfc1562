// Lists of masked positions and the rows at them on the CPU, and the specification of positions.cu.
//
//   select   y[i] = x[positions[i]], 0 where that is -1
//   dot      y[i] = Σ x[positions[i]] other[positions[i]], 0 where that is -1; in the wide type
//   combine  y[n] = scale[i] y[n] + x[i] in the wide type, i = places[n]; as it is where that is -1

#include <algorithm>

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "positions_kernel.hpp"

namespace vpd {
namespace {

template <class Real>
void select(const RowsParams& p, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) {
    Real* y = static_cast<Real*>(p.y) + i * p.y_stride;
    if (p.row_of[i] < 0) {
      std::fill_n(y, p.columns, Real(0));
    } else {
      std::copy_n(static_cast<const Real*>(p.x) + p.row_of[i] * p.x_stride, p.columns, y);
    }
  }
}

template <class Real>
void dot(const RowsParams& p, std::int64_t begin, std::int64_t end) {
  using T = Wide<Real>;
  for (std::int64_t i = begin; i < end; ++i) {
    T sum = 0;
    if (const std::int64_t n = p.row_of[i]; n >= 0) {
      const Real* __restrict x = static_cast<const Real*>(p.x) + n * p.x_stride;
      const Real* __restrict other = static_cast<const Real*>(p.other) + n * p.other_stride;
      for (std::int64_t c = 0; c < p.columns; ++c) sum += static_cast<T>(x[c]) * static_cast<T>(other[c]);
    }
    static_cast<T*>(p.y)[i] = sum;
  }
}

template <class Real>
void combine(const RowsParams& p, std::int64_t begin, std::int64_t end) {
  using T = Wide<Real>;
  for (std::int64_t n = begin; n < end; ++n) {
    const std::int64_t i = p.row_of[n];
    if (i < 0) continue;
    Real* __restrict y = static_cast<Real*>(p.y) + n * p.y_stride;
    const Real* __restrict x = static_cast<const Real*>(p.x) + i * p.x_stride;
    const T scale = static_cast<const T*>(p.scale)[i];
#pragma GCC ivdep
    for (std::int64_t c = 0; c < p.columns; ++c)
      y[c] = static_cast<Real>(scale * static_cast<T>(y[c]) + static_cast<T>(x[c]));
  }
}

}  // namespace

void masked_positions_cpu(const MaskedPositionsParams& p) {
  parallel_rows(p.sites, p.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t l = begin; l < end; ++l) {
      std::int32_t* positions = p.positions + l * p.most;
      std::int64_t count = 0;
      for (std::int64_t n = 0; n < p.rows; ++n) {
        const bool listed = p.routing[l * p.rows + n] && count < p.most;
        p.places[l * p.rows + n] = listed ? static_cast<std::int32_t>(count) : -1;
        if (listed) positions[count++] = static_cast<std::int32_t>(n);
      }
      std::fill(positions + count, positions + p.most, -1);
      p.counts[l] = static_cast<std::int32_t>(count);
    }
  });
}

void select_rows_cpu(const RowsParams& p) {
  parallel_rows(p.rows, p.columns, [&](std::int64_t begin, std::int64_t end) {
    for_element<c10::BFloat16>(p.type, [&](auto real) { select<decltype(real)>(p, begin, end); });
  });
}

void dot_rows_cpu(const RowsParams& p) {
  parallel_rows(p.rows, p.columns, [&](std::int64_t begin, std::int64_t end) {
    for_element<c10::BFloat16>(p.type, [&](auto real) { dot<decltype(real)>(p, begin, end); });
  });
}

void combine_rows_cpu(const RowsParams& p) {
  parallel_rows(p.rows, p.columns, [&](std::int64_t begin, std::int64_t end) {
    for_element<c10::BFloat16>(p.type, [&](auto real) { combine<decltype(real)>(p, begin, end); });
  });
}

}  // namespace vpd
