#include "vpd/machine/numerics.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#ifdef VPD_WITH_CUDA
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#endif

#include "vpd/base/error.hpp"

namespace vpd {
namespace {

int cuda_devices() {
#ifdef VPD_WITH_CUDA
  return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
#else
  return 0;
#endif
}

at::Device resolve_device(const std::string& name, int local_rank) {
  const int found = cuda_devices();
  if (name == "cpu" || (name == "auto" && found == 0)) return at::kCPU;
  const at::Device device(name == "auto" ? "cuda" : name);
  // A launcher may show each process its own GPU alone.
  const int index = device.has_index() ? device.index() : found == 1 ? 0 : local_rank;
#ifdef VPD_WITH_CUDA
  VPD_CHECK(index < found, ConfigError,
            "device: \"{}\" is not there: this machine has {} CUDA device{}; use cpu, or cuda:N with N below "
            "that number, and no more processes on one machine than it has devices",
            index == local_rank && !device.has_index() ? fmt::format("cuda:{}", index) : name, found,
            found == 1 ? "" : "s");
#else
  VPD_CHECK(index < found, ConfigError,
            "device: \"{}\" is not there: this build computes on CPUs alone; use cpu, or build with CUDA",
            name);
#endif
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

}  // namespace

Numerics numerics_on(const at::Device& device, Precision precision) {
  Numerics numerics;
  numerics.device = device;
  const bool bf16 = precision == Precision::bf16 || (precision == Precision::automatic && device.is_cuda());
  numerics.compute = bf16 ? at::kBFloat16 : at::kFloat;
  return numerics;
}

bool has_cuda() { return cuda_devices() > 0; }

Numerics resolve_numerics(const std::string& device, Precision precision, int local_rank) {
  const Numerics numerics = numerics_on(resolve_device(device, local_rank), precision);
  at::Context& libtorch = at::globalContext();
  libtorch.setAllowTF32CuBLAS(precision == Precision::tf32);
  // By default cuBLAS may add the parts of a bfloat16 product in bfloat16. Sums that all but cancel then fall
  // on a grid, and on exact zeros, where importances have their steepest derivative.
  libtorch.setAllowBF16ReductionCuBLAS(false);
  // Where cuDNN's attention has no plan for a shape it fails, and LibTorch, which prefers it on some devices,
  // does not fall back on another.
  libtorch.setSDPUseCuDNN(false);
  return numerics;
}

at::Tensor page_locked(const at::Tensor& x, const at::Device& device) {
  return device.is_cuda() && x.is_cpu() ? x.pin_memory() : x;
}

std::string describe_device(const at::Device& device) {
#ifdef VPD_WITH_CUDA
  if (device.is_cuda()) return at::cuda::getDeviceProperties(device.index())->name;
#endif
  return device.str();
}

void synchronize(const at::Device& device) {
#ifdef VPD_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    c10::cuda::device_synchronize();
  }
#else
  static_cast<void>(device);
#endif
}

}  // namespace vpd
