#include "vpd/target/target.hpp"

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"

namespace vpd {

void Target::check_length(std::int64_t T) const {
  VPD_CHECK(T <= longest_sequence(), UsageError,
            "the target takes sequences of at most {} tokens, found {}: lower sequence_length",
            longest_sequence(), T);
}

at::Tensor Target::output(const at::Tensor& hidden, Executor& executor) const {
  const Matrix* matrix = head();
  return matrix ? executor.linear(*matrix, hidden) : hidden;
}

}  // namespace vpd
