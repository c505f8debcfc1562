#include "vpd/objective/minimality.hpp"

#include <cmath>

#include <ATen/ATen.h>

namespace vpd {
namespace {

Penalty penalty_at(const MinimalityPlan& plan, std::int64_t step, std::int64_t steps) {
  if (const auto* smooth = std::get_if<SmoothL0PenaltyConfig>(&*plan.penalty))
    return {.kind = PenaltyKind::smooth_l0, .gamma = value_at(smooth->gamma, step, steps)};
  return {.kind = PenaltyKind::power, .p = value_at(*plan.p, step, steps), .eps = *plan.eps};
}

/// The term of that kind, or null.
const TermPlan* minimality_of(const ObjectivePlan& objective, bool frequency) {
  for (const TermPlan& term : objective) {
    if (term.minimality() && term.minimality()->frequency == frequency) return &term;
  }
  return nullptr;
}

}  // namespace

std::vector<MinimalitySum> minimality_sums(const ObjectivePlan& objective, std::int64_t step,
                                           std::int64_t steps) {
  std::vector<MinimalitySum> sums;
  const TermPlan *importance = minimality_of(objective, /*frequency=*/false),
                 *frequency = minimality_of(objective, /*frequency=*/true);
  if (importance) {
    sums.push_back({.penalty = penalty_at(*importance->minimality(), step, steps),
                    .importance_coefficient = value_at(importance->coefficient, step, steps),
                    .has_importance = true});
  }
  if (frequency) {
    const MinimalityPlan& plan = *frequency->minimality();
    // By their configuration, not by what two different lines happen to be at this step.
    const bool shared = importance && importance->minimality()->shares_penalty(plan);
    if (!shared) sums.push_back({.penalty = penalty_at(plan, step, steps)});
    sums.back().frequency_coefficient = value_at(frequency->coefficient, step, steps);
    sums.back().has_frequency = true;
    sums.back().reference_count = plan.reference_count;
  }
  return sums;
}

at::Tensor importance_minimality(const at::Tensor& sums, std::int64_t N) {
  return sums.sum() / static_cast<double>(N);
}

at::Tensor frequency_minimality(const at::Tensor& sums, std::int64_t N,
                                std::optional<double> reference_count) {
  const double n = static_cast<double>(N), per_sum = reference_count.value_or(n) / n;
  return (sums * (sums * per_sum + 1.0).log2()).sum() / n;
}

PenaltyGradient minimality_gradient(const MinimalitySum& sum, const at::Tensor& frequency_sums,
                                    std::int64_t N) {
  // With x = s R / N: d/ds [s log2(1 + x)] = log2(1 + x) + x / ((1 + x) ln 2)
  const double n = static_cast<double>(N);
  const at::Tensor x = frequency_sums * (sum.reference_count.value_or(n) / n);
  const at::Tensor derivative = (x + 1.0).log2() + x / ((x + 1.0) * std::log(2.0));
  return {(derivative * (sum.frequency_coefficient / n) + sum.importance_coefficient / n).contiguous(),
          sum.penalty};
}

FrequencyAverage::FrequencyAverage(const MovingAverageConfig& config, const Sites& sites,
                                   const Numerics& numerics)
    : decay_(config.decay),
      mean_(at::zeros({sites.total_C()}, numerics.options().dtype(at::kDouble))),
      weight_(at::zeros({1}, mean_.options())) {}

at::Tensor FrequencyAverage::estimate(const at::Tensor& sums, std::int64_t N) {
  const double n = static_cast<double>(N);
  next_mean_ = mean_ * decay_ + sums * ((1.0 - decay_) / n);
  next_weight_ = weight_ * decay_ + (1.0 - decay_);
  return next_mean_ * n / next_weight_;
}

void FrequencyAverage::keep(const at::Tensor& broken) {
  const at::Tensor fine = broken.eq(0.0);
  mean_.copy_(at::where(fine, next_mean_, mean_));
  weight_.copy_(at::where(fine, next_weight_, weight_));
}

}  // namespace vpd
