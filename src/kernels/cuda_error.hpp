#pragma once

namespace vpd {

/// Throws DataError for a failed CUDA call. In a file of its own so that device code needs neither
/// exceptions' headers nor fmt.
[[noreturn]] void throw_cuda_error(const char* name, const char* explanation, const char* file, int line);

}  // namespace vpd
