#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "vpd/base/limits.hpp"

namespace vpd {

/// What this process holds in RAM now, in bytes, as Linux counts it (VmRSS).
std::int64_t resident_bytes();

/// The most that it held so far (VmHWM).
std::int64_t peak_resident_bytes();

/// The most memory that was in use at one time since the program started, in bytes: of a GPU what LibTorch's
/// allocator handed out, of the CPU the whole process's resident set.
std::int64_t peak_memory_bytes(const at::Device& device);

/// What this process may hold on the device: on a CPU all that base/limits.hpp knows of, on a GPU its free
/// memory.
MemoryLimit usable_memory(const at::Device& device);

/// Has glibc keep the memory that is freed: a step allocates the same large buffers again and again, and
/// keeping their pages costs less than asking the system for new ones. To be called first thing by a program.
void keep_freed_memory();

}  // namespace vpd
