// Rotary embedding on CUDA; formulas in rotary_cpu.cpp.
//
// One block a row; a thread turns `width` pairs of one head. `out` is overwritten. Deterministic.

#include "device.cuh"
#include "rotary_kernel.hpp"

namespace vpd {
namespace {

constexpr unsigned most_threads = 256;

template <class Real, bool adjacent, int width>
__global__ void __launch_bounds__(most_threads) rotary_kernel(RotaryParams p) {
  using T = Wide<Real>;
  const T sign = p.inverse ? T(-1) : T(1);
  // The glue holds rows below 2^31 columns, so that these divisions can be those of 32 bits.
  const auto groups = static_cast<unsigned>(p.half / width), items = static_cast<unsigned>(p.heads) * groups;
  for (std::int64_t n = blockIdx.x; n < p.rows; n += gridDim.x) {
    const T* cosine_row = static_cast<const T*>(p.cosine) + n % p.time_length * p.half;
    const T* sine_row = static_cast<const T*>(p.sine) + n % p.time_length * p.half;
    const Real* x_row = static_cast<const Real*>(p.x) + n * p.x_stride;
    Real* out_row = static_cast<Real*>(p.out) + n * 2 * p.half * p.heads;
    for (unsigned item = threadIdx.x; item < items; item += blockDim.x) {
      const unsigned head = item / groups;
      const std::int64_t first = static_cast<std::int64_t>(item - head * groups) * width;
      const std::int64_t start = 2 * p.half * head;
      T cosine[width], sine[width], a[width], b[width];
      load(cosine_row + first, cosine);
      load(sine_row + first, sine);
      if constexpr (adjacent && width == 1) {  // a pair need not lie on a multiple of its size
        a[0] = convert<T>(x_row[start + 2 * first]), b[0] = convert<T>(x_row[start + 2 * first + 1]);
      } else if constexpr (adjacent) {
        T pairs[2 * width];
        load(x_row + start + 2 * first, pairs);
#pragma unroll
        for (int i = 0; i < width; ++i) a[i] = pairs[2 * i], b[i] = pairs[2 * i + 1];
      } else {
        load(x_row + start + first, a);
        load(x_row + start + p.half + first, b);
      }
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const T s = sign * sine[i], turned = a[i] * cosine[i] - b[i] * s;
        b[i] = b[i] * cosine[i] + a[i] * s;
        a[i] = turned;
      }
      if constexpr (adjacent && width == 1) {
        out_row[start + 2 * first] = convert<Real>(a[0]),
                            out_row[start + 2 * first + 1] = convert<Real>(b[0]);
      } else if constexpr (adjacent) {
        T pairs[2 * width];
#pragma unroll
        for (int i = 0; i < width; ++i) pairs[2 * i] = a[i], pairs[2 * i + 1] = b[i];
        store(out_row + start + 2 * first, pairs);
      } else {
        store(out_row + start + first, a);
        store(out_row + start + p.half + first, b);
      }
    }
  }
}

template <class Real, bool adjacent>
void launch(const RotaryParams& p, cudaStream_t stream) {
  if (p.rows == 0 || p.heads == 0 || p.half == 0) return;
  using T = Wide<Real>;
  constexpr int width = 4;
  const bool packed = p.half % width == 0 && packs_fit<Real>(p.x, p.x_stride, 2 * width) &&
                      packs_fit<Real>(p.out, 2 * p.half * p.heads, 2 * width) &&
                      packs_fit<T>(p.cosine, p.half, width) && packs_fit<T>(p.sine, p.half, width);
  const unsigned grid = grid_of(p.rows),
                 threads = threads_of(p.heads * p.half / (packed ? width : 1), most_threads);
  if (packed) {
    VPD_LAUNCH((rotary_kernel<Real, adjacent, width>), grid, threads, 0, stream, p);
  } else if (adjacent) {
    VPD_LAUNCH((rotary_kernel<Real, true, 1>), grid, threads, 0, stream, p);
  } else {
    VPD_LAUNCH((rotary_kernel<Real, false, 1>), grid, threads, 0, stream, p);
  }
}

template <class Real>
void dispatch(const RotaryParams& p, void* stream) {
  auto* on = static_cast<cudaStream_t>(stream);
  p.adjacent ? launch<Real, true>(p, on) : launch<Real, false>(p, on);
}

}  // namespace

void rotary_cuda(const RotaryParams& p, void* stream) {
  for_element<__nv_bfloat16>(p.type, [&](auto real) {
    using Real = decltype(real);
    dispatch<Real>(p, stream);
  });
}

}  // namespace vpd
