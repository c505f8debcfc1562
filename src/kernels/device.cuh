#pragma once

// What the CUDA kernels share. Widths are numbers of elements; rows of 64-bit length; blocks are
// one-dimensional and a multiple of 32 threads.

#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "cuda_error.hpp"
#else
#include "support/emulated_cuda.hpp"  // the tests' stand-in, which runs these files on a CPU
#endif

#include "element_type.hpp"

#ifdef __CUDACC__
/// The only way to launch: a kernel, in parentheses where it has commas, its grid, threads a block, bytes of
/// dynamic shared memory, stream, and arguments. Throws where the launch fails.
#define VPD_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...) \
  do {                                                               \
    kernel<<<grid, threads, shared_bytes, stream>>>(__VA_ARGS__);    \
    ::vpd::check_launch(__FILE__, __LINE__);                         \
  } while (false)

namespace vpd {

inline void check_launch(const char* file, int line) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw_cuda_error(cudaGetErrorName(error), cudaGetErrorString(error), file, line);
}

/// The block's dynamic shared memory.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
}

}  // namespace vpd
#endif

namespace vpd {

inline constexpr unsigned warp_size = 32;

/// Elements that a thread takes at once where types X and Y stand side by side: 16 bytes of the narrower.
template <class X, class Y = X>
constexpr int pack_width = 16 / static_cast<int>(sizeof(X) < sizeof(Y) ? sizeof(X) : sizeof(Y));

template <class To, class From>
__device__ __forceinline__ To convert(From x) {
  if constexpr (std::is_same_v<From, __nv_bfloat16>) {
    return static_cast<To>(__bfloat162float(x));
  } else if constexpr (std::is_same_v<To, __nv_bfloat16>) {
    return __float2bfloat16(x);  // to nearest even, like the CPU
  } else {
    return static_cast<To>(x);
  }
}

/// 2^x and log2(x) of the special function unit: off by 2 units in the last place, or by 2^-22; numbers below
/// the normal ones are 0.
__device__ __forceinline__ float fast_exp2(float x) {
#ifdef __CUDACC__
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(x) : "f"(x));
  return x;
#else
  return exp2f(x);
#endif
}
__device__ __forceinline__ float fast_log2(float x) {
#ifdef __CUDACC__
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(x) : "f"(x));
  return x;
#else
  return log2f(x);
#endif
}

/// Relative error 2^-22 + 2^-23 |x|: that of a float32 x itself, about.
__device__ __forceinline__ float device_exp(float x) { return fast_exp2(1.44269504f * x); }
__device__ __forceinline__ double device_exp(double x) { return exp(x); }
__device__ __forceinline__ float device_sqrt(float x) { return sqrtf(x); }
__device__ __forceinline__ double device_sqrt(double x) { return sqrt(x); }
/// The larger; x where y is NaN.
__device__ __forceinline__ float device_max(float x, float y) { return fmaxf(x, y); }
__device__ __forceinline__ double device_max(double x, double y) { return fmax(x, y); }
/// x^p for x > 0.
__device__ __forceinline__ float device_power(float x, float p) { return fast_exp2(p * fast_log2(x)); }
__device__ __forceinline__ double device_power(double x, double p) { return exp2(p * log2(x)); }

// ---- Memory ----

/// Alignment in bytes that load and store of `width` elements need.
template <class T>
__host__ __device__ constexpr int access_bytes(int width) {
  return width * static_cast<int>(sizeof(T)) < 16 ? width * static_cast<int>(sizeof(T)) : 16;
}

template <class T, int width>
struct alignas(access_bytes<T>(width)) Pack {
  T values[width];
};

template <int width, class From, class To>
__device__ __forceinline__ void load(const From* from, To (&out)[width]) {
  const Pack<From, width> raw = *reinterpret_cast<const Pack<From, width>*>(from);
#pragma unroll
  for (int i = 0; i < width; ++i) out[i] = convert<To>(raw.values[i]);
}

/// Four bytes of what store() writes.
template <class To, class From>
__device__ __forceinline__ std::uint32_t storage_word(const From* x, int word) {
  if constexpr (std::is_same_v<To, double>) {
    const auto bits = static_cast<std::uint64_t>(__double_as_longlong(x[word / 2]));
    return static_cast<std::uint32_t>(word % 2 == 0 ? bits : bits >> 32);
  } else if constexpr (std::is_same_v<To, float>) {
    return __float_as_uint(static_cast<float>(x[word]));
  } else if constexpr (std::is_same_v<To, std::int16_t>) {
    return static_cast<std::uint16_t>(x[2 * word]) |
           static_cast<std::uint32_t>(static_cast<std::uint16_t>(x[2 * word + 1])) << 16;
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * word], x[2 * word + 1]);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  }
}

/// One integer of 8 or 16 bytes a store: what is assigned as a pack or as a struct of words the compiler may
/// split.
template <int width, class From, class To>
__device__ __forceinline__ void store(To* to, const From (&x)[width]) {
  constexpr int bytes = width * static_cast<int>(sizeof(To));
  const auto pair = [&](int word) {
    return storage_word<To>(x, word) | static_cast<std::uint64_t>(storage_word<To>(x, word + 1)) << 32;
  };
  if constexpr (width == 1) {
    *to = convert<To>(x[0]);
  } else if constexpr (bytes == 8) {
    *reinterpret_cast<std::uint64_t*>(to) = pair(0);
  } else {
    static_assert(bytes % 16 == 0, "expected a width that fills accesses of 8 or 16 bytes");
    __extension__ typedef unsigned __int128 Sixteen;
#pragma unroll
    for (int i = 0; i < bytes / 16; ++i)
      reinterpret_cast<Sixteen*>(to)[i] = pair(4 * i) | static_cast<Sixteen>(pair(4 * i + 2)) << 64;
  }
}

/// Whether every row of a matrix can be accessed in packs of `width` elements. A null matrix can.
template <class T>
bool packs_fit(const void* x, std::int64_t stride, int width) {
  const auto bytes = static_cast<std::uint64_t>(access_bytes<T>(width));
  return reinterpret_cast<std::uintptr_t>(x) % bytes == 0 &&
         (x == nullptr || static_cast<std::uint64_t>(stride) * sizeof(T) % bytes == 0);
}

/// Calls body(first column, integral constant of the width) over a row, shared by the block's threads: packs
/// of `width` from column `head` on where `packed`, and single columns for the rest.
template <int width, class Body>
__device__ __forceinline__ void for_each_column(std::int64_t columns, std::int64_t head, bool packed,
                                                const Body& body) {
  const std::int64_t packs = packed && columns > head ? (columns - head) / width : 0;
  if (packs == 0) head = columns;
  for (std::int64_t i = threadIdx.x; i < packs; i += blockDim.x) {
    body(head + i * width, std::integral_constant<int, width>{});
  }
  const std::int64_t singles = columns - packs * width;
  for (std::int64_t i = threadIdx.x; i < singles; i += blockDim.x) {
    body(i < head ? i : i + packs * width, std::integral_constant<int, 1>{});
  }
}

// ---- Reductions: every thread gets the result, and the order of additions depends on the block's size alone
// ----

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
  /// What changes nothing beside x.
  template <class T>
  __device__ static T neutral(T) {
    return T(0);
  }
};

struct Largest {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
  template <class T>
  __device__ static T neutral(T x) {
    return x;
  }
};

template <class T, class Operation>
__device__ __forceinline__ T warp_reduce(T value, Operation operation) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value = operation(value, __shfl_xor_sync(0xffffffffu, value, offset));
  }
  return value;
}

/// All threads of the block must come here. `scratch`: shared memory for one value a warp.
template <class T, class Operation>
__device__ __forceinline__ T block_reduce(T value, Operation operation, T* scratch) {
  value = warp_reduce(value, operation);
  if (blockDim.x == warp_size) return value;
  __syncthreads();  // the scratch of the reduction before may still be read
  if (threadIdx.x % warp_size == 0) scratch[threadIdx.x / warp_size] = value;
  __syncthreads();
  const unsigned lane = threadIdx.x % warp_size, warps = blockDim.x / warp_size;
  return warp_reduce(lane < warps ? scratch[lane] : operation.neutral(scratch[0]), operation);
}

// ---- Launches ----

/// Blocks for `count` pieces of work; kernels stride over what exceeds the largest grid.
inline unsigned grid_of(std::int64_t count) {
  constexpr std::int64_t most = 0x7fffffff;
  return static_cast<unsigned>(count < most ? count : most);
}

/// Threads that share `pieces` evenly: whole warps, at most `most`.
inline unsigned threads_of(std::int64_t pieces, unsigned most) {
  const std::int64_t rounds = (pieces + most - 1) / most;
  const std::int64_t even = rounds > 0 ? (pieces + rounds - 1) / rounds : 1;
  return static_cast<unsigned>((even + warp_size - 1) / warp_size * warp_size);
}

}  // namespace vpd
