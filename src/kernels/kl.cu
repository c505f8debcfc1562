// KL(softmax(a) ‖ softmax(b)) per row of logits and its gradient on CUDA; formulas in kl_cpu.cpp.
//
// One block a row, as large as blocks can be, so that few rows are under way at once: the second pass, which
// writes the gradient, finds them in the L2 cache. Maxima and sums are taken in one pass: what was summed is
// rescaled when a larger logit appears. row_losses and gradient are overwritten; the gradient may be the
// prediction's own memory, since a thread writes only what it has just read. Arithmetic in float32 (float64
// for float64), sums over threads in float64. Deterministic.

#include <cfloat>

#include "device.cuh"
#include "kl_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned most_threads = 1024;

/// Sums of a part of a row, relative to the largest logits met: Σ exp(a'), Σ exp(b') and Σ exp(a') (a' - b')
/// with a' = a - max_a, b' = b - max_b.
template <class T>
struct RowSums {
  T max_a, max_b, sum_a, sum_b, weighted;

  /// Makes the sums relative to maxima no smaller than their own.
  __device__ void rescale(T new_a, T new_b) {
    const T factor = device_exp(max_a - new_a);
    if (sum_a > 0) weighted = factor * (weighted + sum_a * ((max_a - new_a) - (max_b - new_b)));
    sum_a *= factor;
    sum_b *= device_exp(max_b - new_b);
    max_a = new_a, max_b = new_b;
  }

  template <int width>
  __device__ void add(const T (&a)[width], const T (&b)[width]) {
    T top_a = max_a, top_b = max_b;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      top_a = device_max(top_a, a[i]);
      top_b = device_max(top_b, b[i]);
    }
    if (top_a > max_a || top_b > max_b) rescale(top_a, top_b);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const T shifted_a = a[i] - max_a, shifted_b = b[i] - max_b;
      const T exp_a = device_exp(shifted_a);
      sum_a += exp_a;
      sum_b += device_exp(shifted_b);
      weighted += exp_a * (shifted_a - shifted_b);
    }
  }
};

/// Columns before the first one whose address suits packs of `width` in both rows; -1 where there is none.
template <class A, class B>
__device__ std::int64_t columns_before_packs(const A* a, const B* b, int width) {
  using Narrow = std::conditional_t<(sizeof(A) < sizeof(B)), A, B>;
  const auto address = [](const void* x) { return reinterpret_cast<std::uintptr_t>(x); };
  const std::uintptr_t narrow = sizeof(A) < sizeof(B) ? address(a) : address(b);
  const std::uintptr_t head = (16 - narrow % 16) % 16 / sizeof(Narrow);
  const bool fits =
      address(a + head) % access_bytes<A>(width) == 0 && address(b + head) % access_bytes<B>(width) == 0;
  return fits ? static_cast<std::int64_t>(head) : -1;
}

template <class A, class B>
__global__ void __launch_bounds__(most_threads) kl_kernel(KlParams p) {
  using T = Wide<B>;
  constexpr int width = 16 / static_cast<int>(sizeof(A) < sizeof(B) ? sizeof(A) : sizeof(B));
  constexpr T lowest = std::is_same_v<T, double> ? static_cast<T>(-DBL_MAX) : static_cast<T>(-FLT_MAX);
  __shared__ T scratch[most_threads / warp_size];
  __shared__ double wide_scratch[most_threads / warp_size];
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    const A* a_row = static_cast<const A*>(p.target) + n * p.target_stride;
    const B* b_row = static_cast<const B*>(p.prediction) + n * p.prediction_stride;
    B* gradient = p.gradient ? static_cast<B*>(p.gradient) + n * p.gradient_stride : nullptr;
    const std::int64_t head = columns_before_packs(a_row, b_row, width);
    const bool packed = head >= 0;

    RowSums<T> sums{lowest, lowest, T(0), T(0), T(0)};
    for_each_column<width>(p.columns, packed ? head : 0, packed, [&](std::int64_t c, auto columns) {
      T a[columns.value], b[columns.value];
      load(a_row + c, a);
      load(b_row + c, b);
      sums.add(a, b);
    });
    const T max_a = block_reduce(sums.max_a, Largest{}, scratch);
    const T max_b = block_reduce(sums.max_b, Largest{}, scratch);
    sums.rescale(max_a, max_b);
    const double sum_a = block_reduce(static_cast<double>(sums.sum_a), Sum{}, wide_scratch);
    const double sum_b = block_reduce(static_cast<double>(sums.sum_b), Sum{}, wide_scratch);
    const double weighted = block_reduce(static_cast<double>(sums.weighted), Sum{}, wide_scratch);
    // Thread 0 ends the row with the loss, which takes it long.
    const auto loss = [&] { return weighted / sum_a - log(sum_a) + log(sum_b); };
    if (!gradient) {
      if (threadIdx.x == 0) p.row_losses[n] = loss();
      continue;
    }

    const T scale_p = static_cast<T>(p.scale / sum_a), scale_q = static_cast<T>(p.scale / sum_b);
    const bool packed_gradient =
        packed && reinterpret_cast<std::uintptr_t>(gradient + head) % access_bytes<B>(width) == 0;
    for_each_column<width>(p.columns, packed ? head : 0, packed_gradient, [&](std::int64_t c, auto columns) {
      T a[columns.value], b[columns.value];
      load(a_row + c, a);
      load(b_row + c, b);
#pragma unroll
      for (int i = 0; i < columns.value; ++i) {
        b[i] = device_exp(b[i] - max_b) * scale_q - device_exp(a[i] - max_a) * scale_p;
      }
      store(gradient + c, b);
    });
    if (threadIdx.x == 0) p.row_losses[n] = loss();
  }
}

template <class A, class B>
void launch(const KlParams& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  const unsigned threads = threads_of((p.columns + 7) / 8, most_threads);
  VPD_LAUNCH((kl_kernel<A, B>), grid_of(p.rows), threads, 0, stream, p);
}

}  // namespace

void kl_cuda(const KlParams& p, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  const bool narrow_target = p.target_type == ElementType::bfloat16;
  switch (p.type) {
    case ElementType::float64:
      return launch<double, double>(p, on);
    case ElementType::float32:
      return narrow_target ? launch<__nv_bfloat16, float>(p, on) : launch<float, float>(p, on);
    case ElementType::bfloat16:
      return narrow_target ? launch<__nv_bfloat16, __nv_bfloat16>(p, on)
                           : launch<float, __nv_bfloat16>(p, on);
  }
}

}  // namespace vpd
