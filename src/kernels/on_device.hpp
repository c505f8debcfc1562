#pragma once

#include <ATen/core/Tensor.h>

#ifdef VPD_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

#include "vpd/base/error.hpp"

namespace vpd {

/// Runs `cpu()` or, for a CUDA tensor, `cuda(stream)` on x's device and LibTorch's current stream.
template <class Cpu, class Cuda>
void on_device(const at::Tensor& x, const Cpu& cpu, const Cuda& cuda) {
  if (x.is_cpu()) return cpu();
#ifdef VPD_WITH_CUDA
  if (x.is_cuda()) {
    const c10::cuda::CUDAGuard guard(x.device());
    return cuda(static_cast<void*>(c10::cuda::getCurrentCUDAStream().stream()));
  }
#else
  static_cast<void>(cuda);
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
