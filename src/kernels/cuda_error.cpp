#include "cuda_error.hpp"

#include "vpd/base/error.hpp"

namespace vpd {

void throw_cuda_error(const char* name, const char* explanation, const char* file, int line) {
  throw DataError(
      fmt::format("{}:{}: expected the CUDA device to accept a kernel, found {} ({}); "
                  "the devices that this build has code for are its VPD_CUDA_ARCHITECTURES",
                  file, line, name, explanation));
}

}  // namespace vpd
