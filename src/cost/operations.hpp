#pragma once

#include "vpd/cost/step_shape.hpp"

namespace vpd {

/// Operations of the target's clean forward pass over N positions.
double clean_forward(const StepShape& w, std::int64_t N);

}  // namespace vpd
