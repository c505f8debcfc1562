// Routing draws on CUDA: what routing_cpu.cpp draws, bit for bit.
//
// One thread a position. The words of a position, which the ranks compare, stand in shared memory, one column
// a thread. `out` is overwritten.

#include "device.cuh"
#include "routing_kernel.hpp"

namespace vpd {
namespace {

constexpr std::int64_t shared_bytes = 48 * 1024;

__global__ void static_routing_kernel(RoutingParams p) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= p.rows) return;
  const auto probability = static_cast<float>(p.probability.get());
  for (std::int64_t first = 0; first < p.sites; first += 4) {
    std::uint32_t words[4];
    random_words(p.key.get(), static_cast<std::uint32_t>(first / 4),
                 static_cast<std::uint64_t>(n + p.first_row), 0, words);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + i < p.sites) p.out[(first + i) * p.rows + n] = to_uniform(words[i]) < probability ? 1 : 0;
    }
  }
}

__global__ void subset_routing_kernel(RoutingParams p) {
  auto* shared_words = dynamic_shared<std::uint32_t>();
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= p.rows) return;  // nothing below waits for other threads
  std::uint32_t* own_words = shared_words + threadIdx.x;
  const auto row = static_cast<std::uint64_t>(n + p.first_row);
  const unsigned sites = static_cast<unsigned>(p.sites), stride = blockDim.x;
  for (unsigned first = 0; first < sites; first += 4) {
    std::uint32_t words[4];
    random_words(p.key.get(), first / 4, row, 0, words);
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      if (first + i < sites) own_words[(first + i) * stride] = words[i];
    }
  }
  const std::int64_t k = subset_size(p.key.get(), row, p.sites);
  for (unsigned l = 0; l < sites; ++l) {
    const std::uint32_t own = own_words[l * stride];
    std::int64_t before = 0;
    for (unsigned other = 0; other < sites; ++other) {
      const std::uint32_t word = own_words[other * stride];
      before += word < own || (word == own && other < l);
    }
    p.out[l * p.rows + n] = before < k ? 1 : 0;
  }
}

}  // namespace

void routing_cuda(const RoutingParams& p, void* stream) {
  if (p.rows == 0) return;
  auto* on = static_cast<cudaStream_t>(stream);
  const std::int64_t bytes_per_thread = p.sites * static_cast<std::int64_t>(sizeof(std::uint32_t));
  // At least 3, since a position's words take at most 16 KiB.
  std::int64_t threads = p.subset ? shared_bytes / bytes_per_thread : 128;
  threads = threads < 128 ? threads : 128;
  const unsigned grid = grid_of((p.rows + threads - 1) / threads);
  const auto block = static_cast<unsigned>(threads);
  if (p.subset) {
    VPD_LAUNCH(subset_routing_kernel, grid, block, static_cast<std::size_t>(threads * bytes_per_thread), on,
               p);
  } else {
    VPD_LAUNCH(static_routing_kernel, grid, block, 0, on, p);
  }
}

}  // namespace vpd
