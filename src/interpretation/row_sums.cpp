#include "vpd/interpretation/row_sums.hpp"

#include <tuple>

#include <ATen/ATen.h>

#include "statistics.hpp"

namespace vpd {

at::Tensor importance_of(const LaneBatch& lane, const std::vector<std::int64_t>& columns) {
  const at::Tensor& all = lane.importance.lower;
  return all.index_select(1, at::tensor(columns, at::kLong).to(all.device()));
}

void put_figure(std::vector<RowFigures>& rows, std::size_t figure, const at::Tensor& value,
                const at::Tensor& where) {
  const at::Tensor
      sums = at::where(where, value, at::zeros({}, value.options())).sum(1, false, at::kDouble).cpu(),
      counts = where.sum(1, false, at::kLong).cpu();
  for (std::size_t b = 0; b < rows.size(); ++b) {
    rows[b].sum[figure] = sums[static_cast<std::int64_t>(b)].item<double>();
    rows[b].count[figure] = counts[static_cast<std::int64_t>(b)].item<std::int64_t>();
  }
}

Interval interval_of(const std::vector<RowFigures>& rows, std::size_t figure, std::int64_t resamples,
                     const RandomKey& key) {
  Interval interval;
  double sum = 0.0;
  for (const RowFigures& row : rows) {
    sum += row.sum[figure];
    interval.count += row.count[figure];
  }
  if (interval.count == 0) return interval;
  interval.mean = sum / static_cast<double>(interval.count);
  std::vector<double> means;
  for (std::int64_t k = 0; k < resamples; ++k) {
    double total = 0.0;
    std::int64_t count = 0;
    for (std::size_t i = 0; i < rows.size(); i += 4) {
      std::uint32_t words[4];
      random_words(key, static_cast<std::uint32_t>(k), i, 0, words);
      for (std::size_t w = 0; w < 4 && i + w < rows.size(); ++w) {
        const auto at = static_cast<std::size_t>(std::uint64_t{words[w]} * rows.size() >> 32);
        total += rows[at].sum[figure];
        count += rows[at].count[figure];
      }
    }
    if (count > 0) means.push_back(total / static_cast<double>(count));
  }
  if (!means.empty()) std::tie(interval.low, interval.high) = central_95(std::move(means));
  return interval;
}

}  // namespace vpd
