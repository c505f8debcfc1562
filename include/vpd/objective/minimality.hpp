#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/objective.hpp"
#include "vpd/kernels/squash.hpp"

namespace vpd {

/// One power of the upper-leaky importances that minimality terms sum, at one step of training: s_c = Σ_n (g
/// + eps)^p. The importance and the frequency term share it unless they differ in p or eps.
struct MinimalityPower {
  LateNumber p = 1.0;
  double eps = 0.0;
  double importance_coefficient = 0.0;
  double frequency_coefficient = 0.0;
  bool has_importance = false;  ///< this power carries the importance term's value
  bool has_frequency = false;
};

/// The powers that an objective's terms need at `step` of `steps`: none, one (shared) or two.
std::vector<MinimalityPower> minimality_powers(const ObjectiveConfig& objective, std::int64_t step,
                                               std::int64_t steps);

/// Values of the two terms from the sums over the whole batch (over all processes): sums float64 [Σ C], N its
/// positions. importance = Σ_c s_c / N;  frequency = Σ_c s_c / N · log2(1 + s_c). Zero-dimensional float64.
at::Tensor importance_minimality(const at::Tensor& sums, std::int64_t N);
at::Tensor frequency_minimality(const at::Tensor& sums, std::int64_t N);

/// ∂(weighted terms)/∂s_c, for squash_backward().
PowerGradient minimality_gradient(const MinimalityPower& power, const at::Tensor& sums, std::int64_t N);

}  // namespace vpd
