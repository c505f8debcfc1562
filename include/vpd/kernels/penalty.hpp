#pragma once

#include <cstdint>

#include "vpd/kernels/late_value.hpp"

namespace vpd {

enum class PenaltyKind : std::int32_t {
  power,      ///< (g + eps)^p
  smooth_l0,  ///< g² / (g² + gamma²): 1/2 at gamma, flat at 0, a count of what is not 0 as gamma shrinks
};

/// What a minimality term sums of each upper-leaky causal importance g (method, section 5).
struct Penalty {
  PenaltyKind kind = PenaltyKind::power;
  LateNumber p = 1.0;      ///< power
  double eps = 0.0;        ///< power
  LateNumber gamma = 1.0;  ///< smooth_l0
};

}  // namespace vpd
