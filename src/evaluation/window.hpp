#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "vpd/evaluation/evaluate.hpp"

namespace vpd {

/// The values that a noisy figure has on each batch, for its spread beside its mean.
class Window {
 public:
  void add(double value) {
    ++count_;
    const double before = value - mean_;
    mean_ += before / static_cast<double>(count_);
    squares_ += before * (value - mean_);  // Welford's sum of squared deviations
  }

  /// `<name>/batches`, and `<name>/std`, the sample's standard deviation, of two values or more. The mean is
  /// the caller's, under the name itself.
  void report(const std::string& name, MetricValues& values) const {
    values.emplace_back(name + "/batches", static_cast<double>(count_));
    if (count_ > 1) values.emplace_back(name + "/std", std::sqrt(squares_ / static_cast<double>(count_ - 1)));
  }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0.0, squares_ = 0.0;
};

}  // namespace vpd
