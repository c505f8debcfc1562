#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/plan.hpp"
#include "vpd/decomposition/sites.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/machine/numerics.hpp"

namespace vpd {

/// One penalty φ of the upper-leaky importances that minimality terms sum, at one step of training: s_c =
/// Σ_n φ(g). The importance and the frequency term share it unless they differ in it.
struct MinimalitySum {
  Penalty penalty;
  double importance_coefficient = 0.0;
  double frequency_coefficient = 0.0;
  bool has_importance = false;  ///< this sum carries the importance term's value
  bool has_frequency = false;
  std::optional<double> reference_count;  ///< of the frequency term; none: the batch's positions
};

/// The sums that an objective's terms need at `step` of `steps`: none, one (shared) or two.
std::vector<MinimalitySum> minimality_sums(const ObjectivePlan& objective, std::int64_t step,
                                           std::int64_t steps);

/// Values of the two terms from the sums over the whole batch (over all processes): sums float64 [Σ C], N its
/// positions, R the reference count (none: N). With f_c = s_c / N: importance = Σ_c f_c;
/// frequency = Σ_c f_c log2(1 + f_c R). Zero-dimensional float64.
at::Tensor importance_minimality(const at::Tensor& sums, std::int64_t N);
at::Tensor frequency_minimality(const at::Tensor& sums, std::int64_t N,
                                std::optional<double> reference_count = std::nullopt);

/// ∂(weighted terms)/∂s_c, for squash_backward(). `frequency_sums` are those that the frequency term's value
/// was taken of: the batch's own, or N times an average over steps. What the average says of f_c stands for
/// f_c itself: its history is constant, and the batch's mean enters with weight 1, so that the gradient is
/// that of a batch whose mean is the average.
PenaltyGradient minimality_gradient(const MinimalitySum& sum, const at::Tensor& frequency_sums,
                                    std::int64_t N);

/// f_c averaged over steps with exponentially falling weights, without the bias of its start:
///   a_t = d a_{t-1} + (1 - d) f_t,  w_t = d w_{t-1} + (1 - d),  a_0 = w_0 = 0,  estimate a_t / w_t.
class FrequencyAverage {
 public:
  FrequencyAverage(const MovingAverageConfig& config, const Sites& sites, const Numerics& numerics);

  /// N times the estimate after one more batch with sums float64 [Σ C]; nothing changes until keep().
  at::Tensor estimate(const at::Tensor& sums, std::int64_t N);

  /// Makes that batch part of the average, except where `broken` (float32, zero-dimensional) is not 0.
  void keep(const at::Tensor& broken);

  const at::Tensor& mean() const { return mean_; }      ///< float64 [Σ C]: a_t
  const at::Tensor& weight() const { return weight_; }  ///< float64 [1]: w_t

 private:
  double decay_;
  at::Tensor mean_, weight_, next_mean_, next_weight_;
};

}  // namespace vpd
