#pragma once

#include <initializer_list>

#include <ATen/core/Tensor.h>

#ifdef VPD_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "vpd/base/error.hpp"

namespace vpd {

/// Runs `cpu()` or, for CUDA tensors, `cuda(stream)` on their device and LibTorch's current stream. `tensors`
/// are all that the kernel gets a pointer of; undefined ones after the first do not count.
template <class Cpu, class Cuda>
void on_device(std::initializer_list<at::Tensor> tensors, const Cpu& cpu, const Cuda& cuda) {
  const at::Tensor& x = *tensors.begin();
  for (const at::Tensor& other : tensors) {
    VPD_CHECK(!other.defined() || other.device() == x.device(), UsageError,
              "expected all tensors of an operation on one device, found one on {} beside one on {}",
              other.device().str(), x.device().str());
  }
#ifdef VPD_EMULATED_CUDA  // in the tests' programs that run the CUDA kernels on a CPU, and there alone
  static_cast<void>(cpu);
  if (x.is_cpu()) return cuda(nullptr);
#else
  if (x.is_cpu()) return cpu();
#ifdef VPD_WITH_CUDA
  if (x.is_cuda()) {
    const c10::cuda::CUDAGuard guard(x.device());
    return cuda(static_cast<void*>(c10::cuda::getCurrentCUDAStream().stream()));
  }
#else
  static_cast<void>(cuda);
#endif
#endif
  throw UsageError(fmt::format("this build computes on CPU{} tensors, found one on {}",
#ifdef VPD_WITH_CUDA
                               " and CUDA",
#else
                               "",
#endif
                               x.device().str()));
}

}  // namespace vpd
