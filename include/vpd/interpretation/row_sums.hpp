#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/base/philox.hpp"
#include "vpd/passes/batch.hpp"

namespace vpd {

/// A mean over positions, with the 2.5 and 97.5 percentiles of means over rows drawn with replacement.
struct Interval {
  double mean = 0.0, low = 0.0, high = 0.0;
  std::int64_t count = 0;  ///< positions
};

/// Sums and counts of one row, for each of several figures.
struct RowFigures {
  explicit RowFigures(std::size_t figures) : sum(figures), count(figures) {}
  std::vector<double> sum;
  std::vector<std::int64_t> count;
};

/// Importances of these columns, [N, columns], of a lane's rows.
at::Tensor importance_of(const LaneBatch& lane, const std::vector<std::int64_t>& columns);

/// Puts into each row's `figure` the sum of value [B, T] over the positions where `where` [B, T] is true.
void put_figure(std::vector<RowFigures>& rows, std::size_t figure, const at::Tensor& value,
                const at::Tensor& where);

/// The mean of a figure over all rows' positions; without `resamples` no interval.
Interval interval_of(const std::vector<RowFigures>& rows, std::size_t figure, std::int64_t resamples,
                     const RandomKey& key);

}  // namespace vpd
