#pragma once

#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// How sources climb (method, section 6).
struct AscentRule {
  bool adam = true;  ///< false: sign steps
  double beta1 = 0.5;
  double beta2 = 0.99;
  double eps = 1e-8;
  LateNumber rate = 0.01;
  LateNumber unbias1 = 1.0;  ///< Adam's bias correction of m: bias_correction(beta1, ascents so far)
  LateNumber unbias2 = 1.0;  ///< of v
  bool clamp = true;         ///< to [0, 1] after the step
};

}  // namespace vpd
