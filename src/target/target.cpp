#include "vpd/target/target.hpp"

#include <ATen/ATen.h>

namespace vpd {

at::Tensor Target::output(const at::Tensor& hidden, Executor& executor) const {
  const Matrix* matrix = head();
  return matrix ? executor.linear(*matrix, hidden) : hidden;
}

}  // namespace vpd
