#include "vpd/training/peak_memory.hpp"

#include <sys/resource.h>

#ifdef VPD_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#endif

namespace vpd {

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
