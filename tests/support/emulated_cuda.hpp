#pragma once

// As much of CUDA C++ as the library's kernels use, on a CPU: their source files, compiled as C++ against
// this header, run block after block, each thread of a block as a fiber of its own. That proves their
// arithmetic, indices and synchronisation where there is no GPU; it says nothing of nvcc's code or of speed.
//
// What a GPU may forgive is an error here: threads that wait for others which have left or wait elsewhere,
// and, since the files are compiled with GCC's checks of undefined behaviour, accesses off their alignment.
// Threads take turns in one order and then in the other from barrier to barrier, so a missing barrier shows;
// dynamic shared memory does not begin with zeros.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include <math.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads)
#define __shared__ static thread_local

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1) : x(x_size), y(y_size), z(z_size) {}
};
using cudaStream_t = void*;

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace vpd::emulation {

/// Runs `kernel` for every thread of the grid. Throws std::logic_error where its threads wait in vain.
void launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& kernel);
/// How many there were so far.
std::int64_t launches();

/// Waits until every thread of the block that has not left is here.
void wait_for_block();

/// Waits until all lanes of the warp are here, and returns what lane `lane` brought.
std::uint64_t exchange_in_warp(unsigned lanes, std::uint64_t bits, unsigned lane);

/// The block's dynamic shared memory: exactly as many bytes as the launch asked for.
void* dynamic_shared_memory();

}  // namespace vpd::emulation

#define VPD_LAUNCH(kernel, grid, threads, shared_bytes, stream, ...) \
  (static_cast<void>(stream),                                        \
   ::vpd::emulation::launch(grid, threads, shared_bytes, [&] { kernel(__VA_ARGS__); }))

namespace vpd {

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulation::dynamic_shared_memory());
}

}  // namespace vpd

inline void __syncthreads() { vpd::emulation::wait_for_block(); }

template <class T>
T __shfl_xor_sync(unsigned lanes, T value, unsigned mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = vpd::emulation::exchange_in_warp(lanes, bits, (threadIdx.x % 32) ^ mask);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

/// One thread runs at a time.
template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address += value;
  return old;
}

// ---- Words ----

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline std::uint32_t __float_as_uint(float x) { return std::bit_cast<std::uint32_t>(x); }
inline float __uint_as_float(std::uint32_t x) { return std::bit_cast<float>(x); }
inline float __fmul_rn(float x, float y) { return x * y; }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }

// ---- bfloat16: the upper half of a float ----

struct __nv_bfloat16 {
  std::uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __bfloat162float(__nv_bfloat16 x) {
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}
/// To nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if (x != x) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16(x), __float2bfloat16(y)};
}
