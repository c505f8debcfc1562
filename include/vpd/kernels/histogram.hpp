#pragma once

// Tensors that are not as stated below are a UsageError.

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace vpd {

/// What add_column_histogram() counts in. Values lie in [0, 1], as causal importances do.
struct HistogramBins {
  std::int64_t bins = 20;  ///< equal parts of (0, 1]
  double threshold = 0.1;

  /// Row 0: values of 0. Row k of 1 to `bins`: values in ((k - 1) / bins, k / bins], as far as the product of
  /// a value with `bins` tells. Row `bins` + 1: values above the threshold.
  std::int64_t rows() const { return bins + 2; }
};
inline constexpr std::int64_t most_histogram_bins = 64;

/// Adds the counts of each column of x, float32 or float64 [N, C] with contiguous rows, to `counts`, int64
/// [bins.rows(), C], contiguous and on the same device. One pass over x. What is below 0 or not a number
/// counts as 0, what is above 1 as 1.
void add_column_histogram(const at::Tensor& x, const HistogramBins& bins, const at::Tensor& counts);

}  // namespace vpd
