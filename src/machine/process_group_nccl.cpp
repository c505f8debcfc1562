#include "process_groups.hpp"
#include "vpd/base/error.hpp"

#ifdef VPD_WITH_NCCL
#define USE_C10D_NCCL
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace vpd {

c10::intrusive_ptr<c10d::Backend> make_nccl_group(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                                  int count, std::chrono::milliseconds timeout,
                                                  const c10::Device& device) {
#ifdef VPD_WITH_NCCL
  c10::cuda::set_device(device.index());
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, count, options);
#else
  static_cast<void>(store), static_cast<void>(rank), static_cast<void>(timeout);
  static_cast<void>(device);
  throw UsageError(fmt::format(
      "expected one process on a GPU, found {}: this build of vpd has no NCCL, because it was built "
      "without CUDA or nccl.h was not found; build with CUDA and NCCL's headers, or use --device cpu",
      count));
#endif
}

}  // namespace vpd
