#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "vpd/config/common.hpp"

namespace vpd {

/// Where and in what types a run computes. Matrix products and the activations between them are of type
/// `compute`; statistics, causal importances, masks, losses, master parameters and optimizer state of type
/// `wide` (method, section 7).
struct Numerics {
  at::Device device{at::kCPU};
  at::ScalarType compute = at::kFloat;
  at::ScalarType wide = at::kFloat;

  at::TensorOptions options() const { return at::TensorOptions().device(device).dtype(wide); }
};

/// What `device` and `precision` of a configuration mean on this machine. `auto` is CUDA where there is one,
/// and bf16 there; the one of number `local_rank` unless `device` has a number, or the only one. Turns tf32
/// products on or off in LibTorch. Throws ConfigError for a device that is not there.
Numerics resolve_numerics(const std::string& device, Precision precision, int local_rank = 0);

/// What `precision` means on a device, whether this machine has it or not; leaves LibTorch as it is.
Numerics numerics_on(const at::Device& device, Precision precision);

/// Whether this machine has any CUDA device that this build can use.
bool has_cuda();

/// x in memory that a GPU reads by itself where `device` is one and x is not there yet, else x: to copy other
/// memory the host waits for the work before.
at::Tensor page_locked(const at::Tensor& x, const at::Device& device);

/// The device in words: "cpu", or the GPU's name.
std::string describe_device(const at::Device& device);

/// Waits until the device has done what it was given; at once on a CPU.
void synchronize(const at::Device& device);

}  // namespace vpd
