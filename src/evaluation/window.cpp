#include "window.hpp"

#include <cmath>

namespace vpd {

void Window::add(double value) {
  ++count_;
  const double before = value - mean_;
  mean_ += before / static_cast<double>(count_);
  squares_ += before * (value - mean_);  // Welford's sum of squared deviations
}

void Window::report(const std::string& name, MetricValues& values) const {
  values.emplace_back(name + "/batches", static_cast<double>(count_));
  if (count_ > 1) values.emplace_back(name + "/std", std::sqrt(squares_ / static_cast<double>(count_ - 1)));
}

}  // namespace vpd
