// Scalar networks on the CPU. Nothing of size [N, C, hidden] is ever in memory: a block of positions of one
// network goes through its hidden units one by one, and the backward pass computes them again. With
// t = x w1 + b1, Φ the normal distribution and φ its density:
//   gelu(t) = t Φ(t)      gelu'(t) = Φ(t) + t φ(t)
//
// Threads take networks, so that each sum over positions has one order; a sum runs over a block in registers,
// and over blocks in the gradient's buffer.

#include <algorithm>

#include <c10/util/BFloat16.h>

#include "parallel.hpp"
#include "scalar_mlp_kernel.hpp"
#include "vector_math.hpp"

namespace vpd {
namespace {

constexpr std::int64_t block = 64;  // positions; the last block is filled up with zeros

/// The positions first ... first + rows - 1 of a column.
template <class Real, class Wide>
void load_column(const void* matrix, std::int64_t stride, std::int64_t first, std::int64_t rows,
                 std::int64_t column, Wide* out) {
  const Real* x = static_cast<const Real*>(matrix) + first * stride + column;
  for (std::int64_t i = 0; i < rows; ++i) out[i] = static_cast<Wide>(x[i * stride]);
  for (std::int64_t i = rows; i < block; ++i) out[i] = 0;
}

template <class Real, class Wide>
void store_column(const Wide* values, std::int64_t first, std::int64_t rows, std::int64_t column,
                  std::int64_t C, void* matrix) {
  Real* out = static_cast<Real*>(matrix) + first * C + column;
  for (std::int64_t i = 0; i < rows; ++i) out[i * C] = static_cast<Real>(values[i]);
}

/// Runs network(c, first, rows) for each network and block of positions, blocks outside.
template <class Network>
void in_blocks(const ScalarMlpParams& p, std::int64_t cost, const Network& network) {
  parallel_rows(p.C, cost * p.N * p.hidden, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = 0; first < p.N; first += block)
      for (std::int64_t c = begin; c < end; ++c) network(c, first, std::min(block, p.N - first));
  });
}

template <class Wide>
constexpr Wide root_half = static_cast<Wide>(0.70710678118654752440);
template <class Wide>
constexpr Wide density_at_zero = static_cast<Wide>(0.39894228040143267794);  // 1 / √(2π)

template <class Real, class Wide>
void forward(const ScalarMlpParams& p) {
  in_blocks(p, 4, [&](std::int64_t c, std::int64_t first, std::int64_t rows) {
    Wide x[block], z[block];
    load_column<Real>(p.x, p.x_stride, first, rows, c, x);
    std::fill_n(z, block, static_cast<Wide>(static_cast<const Real*>(p.b2)[c]));
    const Real* w1 = static_cast<const Real*>(p.w1) + c * p.hidden;
    const Real* b1 = static_cast<const Real*>(p.b1) + c * p.hidden;
    const Real* w2 = static_cast<const Real*>(p.w2) + c * p.hidden;
    for (std::int64_t j = 0; j < p.hidden; ++j) {
      const auto scale = static_cast<Wide>(w1[j]), offset = static_cast<Wide>(b1[j]);
      const Wide half = static_cast<Wide>(0.5) * static_cast<Wide>(w2[j]);
      for (std::int64_t i = 0; i < block; ++i) {
        const Wide t = x[i] * scale + offset;
        z[i] += half * t * (1 + verf(t * root_half<Wide>));
      }
    }
    store_column<Real>(z, first, rows, c, p.C, p.z);
  });
}

template <class Real, class Wide>
void backward(const ScalarMlpParams& p) {
  const auto sum_into = [](void* total, std::int64_t at, Wide sum) {
    if (total) static_cast<Wide*>(total)[at] += sum;
  };
  in_blocks(p, 8, [&](std::int64_t c, std::int64_t first, std::int64_t rows) {
    Wide x[block], dz[block], dx[block] = {};
    load_column<Real>(p.x, p.x_stride, first, rows, c, x);
    load_column<Real>(p.gradient, p.C, first, rows, c, dz);
    const Real* w1 = static_cast<const Real*>(p.w1) + c * p.hidden;
    const Real* b1 = static_cast<const Real*>(p.b1) + c * p.hidden;
    const Real* w2 = static_cast<const Real*>(p.w2) + c * p.hidden;
    for (std::int64_t j = 0; j < p.hidden; ++j) {
      const auto scale = static_cast<Wide>(w1[j]), offset = static_cast<Wide>(b1[j]),
                 out = static_cast<Wide>(w2[j]);
      Wide dw1 = 0, db1 = 0, dw2 = 0;
      for (std::int64_t i = 0; i < block; ++i) {
        const Wide t = x[i] * scale + offset;
        const Wide below = static_cast<Wide>(0.5) * (1 + verf(t * root_half<Wide>));
        const Wide density = density_at_zero<Wide> * vexp(static_cast<Wide>(-0.5) * t * t);
        const Wide dt = dz[i] * out * (below + t * density);
        dw2 += dz[i] * t * below;
        dw1 += dt * x[i];
        db1 += dt;
        dx[i] += dt * scale;
      }
      sum_into(p.w1_gradient, c * p.hidden + j, dw1);
      sum_into(p.b1_gradient, c * p.hidden + j, db1);
      sum_into(p.w2_gradient, c * p.hidden + j, dw2);
    }
    Wide db2 = 0;
    for (std::int64_t i = 0; i < block; ++i) db2 += dz[i];
    sum_into(p.b2_gradient, c, db2);
    if (p.x_gradient) store_column<Real>(dx, first, rows, c, p.C, p.x_gradient);
  });
}

}  // namespace

void scalar_mlp_forward_cpu(const ScalarMlpParams& params) {
  for_element<c10::BFloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    forward<Real, Wide<Real>>(params);
  });
}

void scalar_mlp_backward_cpu(const ScalarMlpParams& params) {
  for_element<c10::BFloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    backward<Real, Wide<Real>>(params);
  });
}

}  // namespace vpd
