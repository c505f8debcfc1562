#include "vpd/objective/minimality.hpp"

#include <cmath>

#include <ATen/ATen.h>

namespace vpd {

std::vector<MinimalityPower> minimality_powers(const ObjectiveConfig& objective, std::int64_t step,
                                               std::int64_t steps) {
  std::vector<MinimalityPower> powers;
  if (const auto* importance = find_term<ImportanceMinimalityTerm>(objective)) {
    powers.push_back({.p = value_at(importance->p, step, steps),
                      .eps = importance->eps,
                      .importance_coefficient = value_at(importance->coefficient, step, steps),
                      .has_importance = true});
  }
  if (const auto* frequency = find_term<FrequencyMinimalityTerm>(objective)) {
    const Annealed exponent = exponent_of(*frequency, objective);
    const double eps = eps_of(*frequency, objective);
    // By their configuration, not by what two different lines happen to be at this step.
    if (powers.empty() || find_term<ImportanceMinimalityTerm>(objective)->p != exponent ||
        powers[0].eps != eps)
      powers.push_back({.p = value_at(exponent, step, steps), .eps = eps});
    powers.back().frequency_coefficient = value_at(frequency->coefficient, step, steps);
    powers.back().has_frequency = true;
  }
  return powers;
}

at::Tensor importance_minimality(const at::Tensor& sums, std::int64_t N) {
  return sums.sum() / static_cast<double>(N);
}

at::Tensor frequency_minimality(const at::Tensor& sums, std::int64_t N) {
  return (sums * (sums + 1.0).log2()).sum() / static_cast<double>(N);
}

PowerGradient minimality_gradient(const MinimalityPower& power, const at::Tensor& sums, std::int64_t N) {
  // d/ds [s log2(1 + s)] = log2(1 + s) + s / ((1 + s) ln 2)
  const at::Tensor derivative = (sums + 1.0).log2() + sums / ((sums + 1.0) * std::log(2.0));
  const double n = static_cast<double>(N);
  return {(derivative * (power.frequency_coefficient / n) + power.importance_coefficient / n).contiguous(),
          power.p, power.eps};
}

}  // namespace vpd
