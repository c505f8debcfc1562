#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace vpd {

/// A column of its own for each row, so that the sum of the chosen entries is largest: value [R, C] with R at
/// most C, finite. Entry r of the result is row r's column. O(R² C). Throws UsageError for any other shape.
std::vector<std::int64_t> best_assignment(const at::Tensor& value);

}  // namespace vpd
