#pragma once

#include "vpd/cost/workload.hpp"

namespace vpd {

/// Operations of the target's clean forward pass over N positions.
double clean_forward(const Workload& w, std::int64_t N);

}  // namespace vpd
