#pragma once

#include <cstdint>

#include <ATen/Parallel.h>

namespace vpd {

/// Runs body(begin, end) over row ranges. Serial inside a lane, where one thread is all there is.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t cost_per_row, const Body& body) {
  constexpr std::int64_t worth_a_thread =
      32768;  // elements; below that waking a thread costs more than it saves
  const std::int64_t grain =
      std::max<std::int64_t>(1, worth_a_thread / std::max<std::int64_t>(1, cost_per_row));
  at::parallel_for(0, rows, grain, body);
}

}  // namespace vpd
