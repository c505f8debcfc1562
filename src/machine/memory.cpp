#include "vpd/machine/memory.hpp"

#include <ATen/ATen.h>
#include <malloc.h>
#include <sys/resource.h>

#ifdef VPD_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#endif

namespace vpd {

std::int64_t resident_bytes() { return kilobytes("/proc/self/status", "VmRSS").value_or(0); }
std::int64_t peak_resident_bytes() { return kilobytes("/proc/self/status", "VmHWM").value_or(0); }

MemoryLimit usable_memory(const at::Device& device) {
#ifdef VPD_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    std::size_t free = 0, total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return {static_cast<std::int64_t>(free), "available"};
  }
#endif
  return device.is_cpu() ? usable_memory() : MemoryLimit{};
}

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes on 64 bits
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

std::int64_t peak_memory_bytes(const at::Device& device) {
#ifdef VPD_WITH_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
#else
  static_cast<void>(device);
#endif
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace vpd
