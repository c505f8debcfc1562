#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace vpd {

/// The most memory that was in use at one time since the program started, in bytes: of a GPU what LibTorch's
/// allocator handed out, of the CPU the whole process's resident set.
std::int64_t peak_memory_bytes(const at::Device& device);

}  // namespace vpd
