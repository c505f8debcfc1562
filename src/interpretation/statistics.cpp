#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace vpd {

double mean_of(const std::vector<double>& values) {
  double sum = 0.0, count = 0.0;
  for (const double x : values) {
    if (std::isnan(x)) continue;
    sum += x;
    count += 1.0;
  }
  return count > 0.0 ? sum / count : 0.0;
}

double standard_error(const std::vector<double>& values) {
  const double mean = mean_of(values);
  double squares = 0.0, count = 0.0;
  for (const double x : values) {
    if (std::isnan(x)) continue;
    squares += (x - mean) * (x - mean);
    count += 1.0;
  }
  return count > 1.0 ? std::sqrt(squares / (count - 1.0) / count) : 0.0;
}

double largest_magnitude(const std::vector<double>& values) {
  double largest = std::numeric_limits<double>::quiet_NaN();
  for (const double x : values) largest = std::fmax(largest, std::abs(x));
  return largest;
}

double quantile_of(std::vector<float> values, double part) {
  if (values.empty()) return 0.0;
  const auto rank = static_cast<std::ptrdiff_t>(std::lround(part * static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + rank, values.end());
  return values[static_cast<std::size_t>(rank)];
}

std::pair<double, double> central_95(std::vector<double> values) {
  if (values.empty()) return {0.0, 0.0};
  std::sort(values.begin(), values.end());
  const auto at = [&](double part) {
    return values[static_cast<std::size_t>(std::lround(part * static_cast<double>(values.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

std::pair<double, double> bootstrap_of_mean(const std::vector<double>& values, const RandomKey& key,
                                            std::int64_t resamples) {
  std::vector<double> means, drawn(values.size());
  for (std::int64_t k = 0; k < resamples; ++k) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t words[4];
      random_words(key, static_cast<std::uint32_t>(k), i, 0, words);
      drawn[i] = values[static_cast<std::size_t>(std::uint64_t{words[0]} * values.size() >> 32)];
    }
    means.push_back(mean_of(drawn));
  }
  return central_95(std::move(means));
}

}  // namespace vpd
