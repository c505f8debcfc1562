// float32 matrices as sums of bfloat16 ones on the CPU, and the specification of bfloat16_parts.cu:
//
//   d = x - less,  squares[m] = Σ d[m]²,  part 0 = bf16(s d),  part k = bf16(s d - part 0 - ... - part k-1)
//
// Each difference of a number and what it was rounded to is exact in float32.

#include <c10/util/BFloat16.h>

#include "bfloat16_parts_kernel.hpp"
#include "parallel.hpp"

namespace vpd {
namespace {

void split_row(const BFloat16PartsParams& p, std::int64_t m) {
  const float* __restrict x = p.x + m * p.columns;
  const float* __restrict less = p.less ? p.less + m * p.columns : nullptr;
  auto* out = static_cast<c10::BFloat16*>(p.out) + m * p.columns;
  double squares = 0.0;
  for (std::int64_t n = 0; n < p.columns; ++n) {
    float rest = less ? x[n] - less[n] : x[n];
    squares += static_cast<double>(rest) * static_cast<double>(rest);
    rest *= p.scale;
    for (int k = 0; k < p.parts; ++k) {
      const c10::BFloat16 part(rest);
      out[k * p.rows * p.columns + n] = part;
      rest -= static_cast<float>(part);
    }
  }
  if (p.squares) p.squares[m] = squares;
}

}  // namespace

void bfloat16_parts_cpu(const BFloat16PartsParams& p) {
  parallel_rows(p.rows, p.columns, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m) split_row(p, m);
  });
}

}  // namespace vpd
