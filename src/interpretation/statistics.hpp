#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "vpd/base/philox.hpp"

namespace vpd {

/// The mean of those that are numbers; 0 of none.
double mean_of(const std::vector<double>& values);
/// The standard error of that mean; 0 of fewer than two.
double standard_error(const std::vector<double>& values);
/// The largest magnitude of those that are numbers; NaN where none is.
double largest_magnitude(const std::vector<double>& values);
/// The value below which that part of all lies, to the nearest rank; 0 of none.
double quantile_of(std::vector<float> values, double part);
/// The 2.5 and 97.5 percentiles; 0 of none.
std::pair<double, double> central_95(std::vector<double> values);
/// central_95() of the means of as many values drawn with replacement.
std::pair<double, double> bootstrap_of_mean(const std::vector<double>& values, const RandomKey& key,
                                            std::int64_t resamples);

}  // namespace vpd
