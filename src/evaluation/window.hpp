#pragma once

#include <cstdint>
#include <string>

#include "vpd/evaluation/evaluate.hpp"

namespace vpd {

/// The values that a noisy figure has on each batch, for its spread beside its mean.
class Window {
 public:
  void add(double value);

  /// `<name>/batches`, and `<name>/std`, the sample's standard deviation, of two values or more. The mean is
  /// the caller's, under the name itself.
  void report(const std::string& name, MetricValues& values) const;

 private:
  std::int64_t count_ = 0;
  double mean_ = 0.0, squares_ = 0.0;
};

}  // namespace vpd
