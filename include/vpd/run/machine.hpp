#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "vpd/base/limits.hpp"

namespace vpd {

/// What this process holds in RAM now, in bytes, as Linux counts it (VmRSS).
std::int64_t resident_bytes();

/// The most that it held so far (VmHWM).
std::int64_t peak_resident_bytes();

/// What this process may hold on the device: on a CPU all that base/limits.hpp knows of, on a GPU its free
/// memory.
MemoryLimit usable_memory(const at::Device& device);

/// What the program itself takes on the device, in bytes, before any model: on a CPU the resident memory
/// after a step of a model of a few parameters with that many threads, which has loaded everything that a
/// step uses; on CUDA nothing, since free memory is asked for with the program's context in place.
std::int64_t program_bytes(const at::Device& device, int threads, int lanes);

/// Has glibc keep the memory that is freed: a step allocates the same large buffers again and again, and
/// keeping their pages costs less than asking the system for new ones. To be called first thing by a program.
void keep_freed_memory();

/// Waits until the device has done what it was given; at once on a CPU.
void synchronize(const at::Device& device);

}  // namespace vpd
