// Leaky squashings and sums of penalties on CUDA; formulas in squash_cpu.cpp.
//
// The squashings and their backward passes are elementwise and overwrite `out`; penalty_sums adds to `sums`,
// by column sums in two stages. Deterministic.

#include <algorithm>

#include "column_sums.cuh"
#include "device.cuh"
#include "squash_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned threads = 256;

template <class T>
__device__ __forceinline__ T upper_value(T z, T slope) {
  const T clamped = z < 0 ? T(0) : z;
  return z > 1 ? 1 + slope * (z - 1) : clamped;
}

template <class T>
__device__ __forceinline__ T upper_derivative(T z, T slope) {
  return z > 1 ? slope : (z >= 0 ? T(1) : T(0));
}

template <class T>
__device__ __forceinline__ T lower_derivative(T gradient, T z, T slope) {
  const T below = gradient < 0 ? slope * gradient : T(0);
  const T inside = z <= 1 ? gradient : T(0);
  return z <= 0 ? below : inside;
}

/// A penalty in the type of the arithmetic.
template <class T>
struct DevicePenalty {
  PenaltyKind kind;
  T p, p_minus_1, eps, gamma;

  DevicePenalty() = default;
  __device__ __forceinline__ explicit DevicePenalty(const Penalty& penalty)
      : kind(penalty.kind), p(0), p_minus_1(0), eps(static_cast<T>(penalty.eps)), gamma(0) {
    if (kind == PenaltyKind::power) {
      p = static_cast<T>(penalty.p.get());
      p_minus_1 = static_cast<T>(penalty.p.get() - 1);
    } else {
      gamma = static_cast<T>(penalty.gamma.get());
    }
  }

  __device__ __forceinline__ T value(T g) const {
    return kind == PenaltyKind::power ? device_power(g + eps, p) : g * g / (g * g + gamma * gamma);
  }
  /// φ'(g) without the factor that slope_factor() gives.
  __device__ __forceinline__ T slope(T g) const {
    if (kind == PenaltyKind::power) return device_power(g + eps, p_minus_1);
    const T below = g * g + gamma * gamma;
    return g / (below * below);
  }
};

__device__ __forceinline__ double slope_factor(const Penalty& penalty) {
  const double gamma = penalty.gamma.get();
  return penalty.kind == PenaltyKind::power ? penalty.p.get() : 2.0 * gamma * gamma;
}

template <class Z>
struct PenaltyOfElement {
  using T = Wide<Z>;
  const Z* z;
  std::int64_t stride;
  T slope;
  Penalty penalty;

  /// What a thread makes once. Most importances are 0, and all zeros have one penalty.
  struct Prepared {
    const Z* z;
    std::int64_t stride;
    T slope, of_zero;
    DevicePenalty<T> penalty;

    __device__ T operator()(std::int64_t n, std::int64_t c) const {
      const T g = upper_value(convert<T>(z[n * stride + c]), slope);
      return g == 0 ? of_zero : penalty.value(g);
    }
  };
  __device__ Prepared prepared() const {
    const DevicePenalty<T> of(penalty);
    return {z, stride, slope, of.value(T(0)), of};
  }
};

/// A thread keeps to `width` neighbouring columns, whose weights stay in registers, and strides over rows.
/// Counts of active importances are whole numbers, so that their order does not matter.
template <class Z, int width>
__device__ unsigned squash_columns_backward(const SquashBackwardParams& p, std::int64_t first) {
  using T = Wide<Z>;
  const auto slope = static_cast<T>(p.slope);
  T weight[most_penalties][width] = {};
  DevicePenalty<T> penalty[most_penalties];
#pragma unroll
  for (int k = 0; k < most_penalties; ++k) {
    if (k >= p.penalties) break;
    penalty[k] = DevicePenalty<T>(p.penalty[k]);
    const double factor = slope_factor(p.penalty[k]);
#pragma unroll
    for (int i = 0; i < width; ++i) weight[k][i] = static_cast<T>(p.weight[k][first + i] * factor);
  }
  unsigned active = 0;
  for (std::int64_t n = blockIdx.y; n < p.rows; n += gridDim.y) {
    const std::int64_t at = n * p.columns + first;
    T z[width], lower[width];
    load(static_cast<const Z*>(p.z) + at, z);
    load(static_cast<const T*>(p.lower_gradient) + at, lower);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      active += z[i] > 0 ? 1 : 0;
      T total = lower_derivative(lower[i], z[i], slope);
      const T value = upper_value(z[i], slope), through = upper_derivative(z[i], slope);
      if (through != 0) {
#pragma unroll
        for (int k = 0; k < most_penalties; ++k) {
          if (k >= p.penalties) break;
          total += weight[k][i] * penalty[k].slope(value) * through;
        }
      }
      z[i] = total;
    }
    store(static_cast<Z*>(p.out) + at, z);
  }
  return active;
}

template <class Z, int width>
__global__ void __launch_bounds__(threads) squash_backward_kernel(SquashBackwardParams p) {
  __shared__ unsigned scratch[threads / warp_size];
  const std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * width;
  const unsigned active = first < p.columns ? squash_columns_backward<Z, width>(p, first) : 0;
  if (!p.active) return;
  const unsigned all = block_reduce(active, Sum{}, scratch);
  if (threadIdx.x == 0 && all > 0) atomicAdd(p.active, static_cast<unsigned long long>(all));
}

template <class Z, int width>
void launch_backward(const SquashBackwardParams& p, cudaStream_t stream) {
  const std::int64_t tiles = (p.columns / width + threads - 1) / threads;
  // Blocks enough to keep a device busy to the end, and rows enough for each that its beginning costs little.
  const std::int64_t strides = std::min(p.rows, std::max<std::int64_t>(1, (std::int64_t{1} << 14) / tiles));
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(strides));
  VPD_LAUNCH((squash_backward_kernel<Z, width>), grid, threads, 0, stream, p);
}

template <class Z>
void backward(const SquashBackwardParams& p, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  using T = Wide<Z>;
  constexpr int width = pack_width<T>;
  const bool packed = p.columns % width == 0 && packs_fit<Z>(p.z, p.columns, width) &&
                      packs_fit<T>(p.lower_gradient, p.columns, width) &&
                      packs_fit<Z>(p.out, p.columns, width);
  packed ? launch_backward<Z, width>(p, stream) : launch_backward<Z, 1>(p, stream);
}

template <class Z>
void penalty_sums(const PenaltySumsParams& p, cudaStream_t stream) {
  using T = Wide<Z>;
  const PenaltyOfElement<Z> element{static_cast<const Z*>(p.z), p.z_stride, static_cast<T>(p.slope),
                                    p.penalty};
  add_column_sums<T>(p.rows, p.columns, p.workspace, p.sums, element, stream);
}

}  // namespace

void penalty_sums_cuda(const PenaltySumsParams& params, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  for_element<__nv_bfloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    penalty_sums<Real>(params, on);
  });
}
void squash_backward_cuda(const SquashBackwardParams& params, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  for_element<__nv_bfloat16>(params.type, [&](auto real) {
    using Real = decltype(real);
    backward<Real>(params, on);
  });
}

}  // namespace vpd
