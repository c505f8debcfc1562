#pragma once

#include <cstdint>

namespace vpd {

/// Groups of rows whose column sums CUDA takes side by side; it adds up the groups in order. The workspace of
/// such a sum is float64 [groups, columns].
inline std::int64_t column_sum_groups(std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t threads_wanted = 1 << 20;  // fills the largest device several times
  constexpr std::int64_t rows_at_least = 64;
  const std::int64_t useful = (rows + rows_at_least - 1) / rows_at_least;
  const std::int64_t wanted = columns > 0 ? (threads_wanted + columns - 1) / columns : 1;
  const std::int64_t groups = useful < wanted ? useful : wanted;
  return groups > 1 ? (groups < 65535 ? groups : 65535) : 1;
}

}  // namespace vpd
