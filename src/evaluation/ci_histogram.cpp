// How causal importances are distributed: histograms of their values, and of how often each subcomponent is
// active (its density: the part of the positions where its importance is above a threshold).

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "vpd/kernels/histogram.hpp"

namespace vpd {
namespace {

/// 0, then half decades from 1e-5 to 1: densities span them all.
std::vector<double> density_edges() {
  std::vector<double> edges = {0.0};
  for (int k = 0; k < 10; ++k) edges.push_back(std::pow(10.0, -5.0 + 0.5 * k));
  edges.push_back(1.0);
  return edges;
}

class CiHistogram final : public Gatherer {
 public:
  CiHistogram(const CiHistogramMetric& config, const Sites& sites)
      : bins_{config.bins, config.threshold}, sites_(sites) {}

  void add(const Batch& batch) override {
    positions_ += static_cast<double>(batch.positions());
    const at::Tensor counts = batch.sum_tensors([&](const LaneBatch& lane) {
      const at::Tensor& g = lane.importance.lower;
      at::Tensor own = at::zeros({bins_.rows(), g.size(1)}, g.options().dtype(at::kLong));
      add_column_histogram(g, bins_, own);
      return own;
    });
    counts_ = counts_.defined() ? counts_.add_(counts) : counts;
  }

  void report(MetricValues& values) const override {
    const at::Tensor active = counts_[bins_.bins + 1].cpu().to(at::kDouble);
    values.emplace_back("density/total", active.mean().item<double>() / positions_);
    for (const Site& site : sites_) {
      values.emplace_back("density/" + site.name, site.columns(active).mean().item<double>() / positions_);
    }
  }

  void report_arrays(MetricArrays& arrays) const override {
    const at::Tensor counts = counts_.cpu();
    const auto active = counts.accessor<std::int64_t, 2>()[bins_.bins + 1];
    std::vector<double> edges;
    for (std::int64_t k = 0; k <= bins_.bins; ++k)
      edges.push_back(static_cast<double>(k) / static_cast<double>(bins_.bins));
    arrays.emplace_back("ci_histogram/edges", edges);
    for (const Site& site : sites_) {
      const at::Tensor sums = site.columns(counts).sum(1);
      std::vector<double> bins;
      for (std::int64_t k = 0; k <= bins_.bins; ++k) bins.push_back(sums[k].item<double>());
      arrays.emplace_back("ci_histogram/" + site.name, bins);
    }
    const std::vector<double> decades = density_edges();
    arrays.emplace_back("density_histogram/edges", decades);
    for (const Site& site : sites_) {
      std::vector<double> bins(decades.size());
      for (std::int64_t c = site.offset; c < site.offset + site.C; ++c) {
        const double density = static_cast<double>(active[c]) / positions_;
        // The first edge that is not below it: bin 0 holds what is never active.
        ++bins[static_cast<std::size_t>(std::lower_bound(decades.begin(), decades.end(), density) -
                                        decades.begin())];
      }
      arrays.emplace_back("density_histogram/" + site.name, bins);
    }
  }

 private:
  HistogramBins bins_;
  const Sites& sites_;
  at::Tensor counts_;  // int64 [bins_.rows(), Σ C], on the run's device
  double positions_ = 0.0;
};

}  // namespace

std::unique_ptr<Gatherer> make_ci_histogram(const CiHistogramMetric& config, const Sites& sites) {
  return std::make_unique<CiHistogram>(config, sites);
}

}  // namespace vpd
