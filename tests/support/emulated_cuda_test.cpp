#include "support/emulated_cuda.hpp"

#include <cstdint>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace vpd::emulation {
namespace {

void index_kernel(std::int64_t* out) {
  out[(blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x] = threadIdx.x + 100 * blockIdx.x;
}

TEST(EmulatedCuda, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<std::int64_t> out(3 * 2 * 5, -1);
  VPD_LAUNCH(index_kernel, dim3(3, 2), 5, 0, nullptr, out.data());
  for (int block = 0; block < 6; ++block) {
    for (int thread = 0; thread < 5; ++thread) EXPECT_EQ(out[block * 5 + thread], thread + 100 * (block % 3));
  }
}

/// Each thread writes, waits, and reads what the thread opposite wrote.
void mirror_kernel(int* out, bool wait) {
  auto* shared = dynamic_shared<int>();
  for (int round = 0; round < 3; ++round) {
    shared[threadIdx.x] = static_cast<int>(threadIdx.x) + 1000 * round;
    if (wait) __syncthreads();
    out[round * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
    __syncthreads();
  }
}

int mirrored_wrongly(bool wait) {
  constexpr int threads = 70;
  std::vector<int> out(3 * threads);
  VPD_LAUNCH(mirror_kernel, 1, threads, threads * sizeof(int), nullptr, out.data(), wait);
  int wrong = 0;
  for (int i = 0; i < 3 * threads; ++i) wrong += out[i] != threads - 1 - i % threads + 1000 * (i / threads);
  return wrong;
}

TEST(EmulatedCuda, BarriersOrderSharedMemory) { EXPECT_EQ(mirrored_wrongly(true), 0); }

TEST(EmulatedCuda, AMissingBarrierShows) { EXPECT_GT(mirrored_wrongly(false), 0); }

void sum_kernel(double* out) {
  double x = threadIdx.x;
  for (unsigned offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  out[threadIdx.x] = x;
}

TEST(EmulatedCuda, LanesOfAWarpExchangeValues) {
  std::vector<double> out(64);
  VPD_LAUNCH(sum_kernel, 1, 64, 0, nullptr, out.data());
  for (int t = 0; t < 64; ++t) EXPECT_EQ(out[t], t < 32 ? 31 * 16 : 31 * 16 + 32 * 32) << t;
}

void wait_kernel(unsigned waiting, unsigned exchanging) {
  if (threadIdx.x < exchanging) __shfl_xor_sync(0xffffffffu, 1, 1);
  if (threadIdx.x < waiting) __syncthreads();
}

TEST(EmulatedCuda, ThreadsThatLeftAreNotWaitedForAtABarrier) {
  EXPECT_NO_THROW(VPD_LAUNCH(wait_kernel, 2, 64, 0, nullptr, 40, 32));
}

TEST(EmulatedCuda, WaitingInVainIsAnError) {
  EXPECT_THROW(VPD_LAUNCH(wait_kernel, 1, 64, 0, nullptr, 0, 31), std::logic_error);   // a lane left
  EXPECT_THROW(VPD_LAUNCH(wait_kernel, 1, 48, 0, nullptr, 0, 48), std::logic_error);   // half a warp
  EXPECT_THROW(VPD_LAUNCH(wait_kernel, 1, 64, 0, nullptr, 64, 16), std::logic_error);  // at a barrier instead
  EXPECT_NO_THROW(VPD_LAUNCH(wait_kernel, 1, 64, 0, nullptr, 64, 64));  // and the next launch is a fresh one
}

TEST(EmulatedCuda, LaunchesThatNoGpuTakesAreAnError) {
  EXPECT_THROW(VPD_LAUNCH(index_kernel, 0, 32, 0, nullptr, nullptr), std::logic_error);
  EXPECT_THROW(VPD_LAUNCH(index_kernel, dim3(1, 65536), 32, 0, nullptr, nullptr), std::logic_error);
  EXPECT_THROW(VPD_LAUNCH(index_kernel, 1, 1025, 0, nullptr, nullptr), std::logic_error);
  EXPECT_THROW(VPD_LAUNCH(index_kernel, 1, 32, 49 * 1024, nullptr, nullptr), std::logic_error);
}

TEST(EmulatedCuda, Bfloat16IsRoundedToNearestEven) {
  const auto rounded = [](std::uint32_t bits) {
    return __float_as_uint(__bfloat162float(__float2bfloat16(__uint_as_float(bits))));
  };
  EXPECT_EQ(rounded(0x3f808000), 0x3f800000u);  // a tie, to even
  EXPECT_EQ(rounded(0x3f818000), 0x3f820000u);
  EXPECT_EQ(rounded(0x3f808001), 0x3f810000u);
  EXPECT_EQ(rounded(0xbf80ffff), 0xbf810000u);
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f800000u);  // beyond the largest: infinity
  EXPECT_NE(__bfloat162float(__float2bfloat16(NAN)), __bfloat162float(__float2bfloat16(NAN)));
}

}  // namespace
}  // namespace vpd::emulation
