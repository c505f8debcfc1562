// How many subcomponents are causally important (L0), and how many ever are (alive).

#include <ATen/ATen.h>

#include "metrics.hpp"

namespace vpd {
namespace {

/// Σ over a batch's positions of f(importances), per column: float64 [Σ C] on the CPU.
template <class Function>
at::Tensor column_sums(const Batch& batch, const Function& f) {
  return batch
      .sum_tensors([&](const LaneBatch& lane) { return f(lane.importance.lower).sum(0, false, at::kDouble); })
      .cpu();
}

class CiL0 final : public Gatherer {
 public:
  CiL0(const CiL0Metric& config, const Sites& sites, const std::string& where)
      : config_(config), sites_(sites), active_(at::zeros({sites.total_C()}, at::kDouble)) {
    for (const Site& site : sites) {
      VPD_CHECK(!config.groups.contains(site.name), ConfigError,
                "{}.groups.{}: expected a group name that no site has, whose own figure is l0/{}, found it",
                where, site.name, site.name);
    }
  }

  void add(const Batch& batch) override {
    positions_ += static_cast<double>(batch.positions());
    const std::int64_t columns = sites_.total_C(), T = batch.T;
    // Both sums from one comparison: per column, then per position of a row.
    const at::Tensor sums = batch
                                .sum_tensors([&](const LaneBatch& lane) {
                                  const at::Tensor above = lane.importance.lower.gt(config_.threshold);
                                  return at::cat({above.sum(0, false, at::kDouble),
                                                  above.sum(1, false, at::kDouble).view({-1, T}).sum(0)});
                                })
                                .cpu();
    active_.add_(sums.narrow(0, 0, columns));
    // Prompts may have several lengths.
    const auto length = static_cast<std::size_t>(T);
    if (by_position_.size() < length) by_position_.resize(length), rows_.resize(length);
    const auto* of_batch = sums.const_data_ptr<double>() + columns;
    for (std::size_t t = 0; t < length; ++t)
      by_position_[t] += of_batch[t], rows_[t] += static_cast<double>(batch.B);
  }

  void report(MetricValues& values) const override {
    std::vector<double> l0;
    double total = 0.0;
    for (const Site& site : sites_) {
      l0.push_back(site.columns(active_).sum().item<double>() / positions_);
      total += l0.back();
    }
    values.emplace_back("l0/total", total);
    for (std::size_t i = 0; i < sites_.size(); ++i) values.emplace_back("l0/" + sites_[i].name, l0[i]);
    for (const auto& [group, patterns] : config_.groups) {
      double sum = 0.0;
      for (std::size_t i = 0; i < sites_.size(); ++i) {
        for (const std::string& pattern : patterns) {
          if (!matches_pattern(pattern, sites_[i].name)) continue;
          sum += l0[i];
          break;
        }
      }
      values.emplace_back("l0/" + group, sum);
    }
  }

  void report_arrays(MetricArrays& arrays) const override {
    std::vector<double> l0;
    for (std::size_t t = 0; t < by_position_.size(); ++t) l0.push_back(by_position_[t] / rows_[t]);
    arrays.emplace_back("l0_by_position", l0);
  }

 private:
  CiL0Metric config_;
  const Sites& sites_;
  at::Tensor active_;                       // float64 [Σ C]
  std::vector<double> by_position_, rows_;  // of each position of a row
  double positions_ = 0.0;
};

class Alive final : public Gatherer {
 public:
  Alive(const AliveMetric& config, const Sites& sites)
      : threshold_(config.threshold), sites_(sites), importance_(at::zeros({sites.total_C()}, at::kDouble)) {}

  void add(const Batch& batch) override {
    positions_ += static_cast<double>(batch.positions());
    importance_.add_(column_sums(batch, [](const at::Tensor& g) { return g; }));
  }

  void report(MetricValues& values) const override {
    const at::Tensor alive = importance_.div(positions_).gt(threshold_);
    values.emplace_back("alive/total", alive.sum().item<double>());
    for (const Site& site : sites_) {
      values.emplace_back("alive/" + site.name, site.columns(alive).sum().item<double>());
    }
  }

 private:
  double threshold_;
  const Sites& sites_;
  at::Tensor importance_;
  double positions_ = 0.0;
};

}  // namespace

std::unique_ptr<Gatherer> make_ci_l0(const CiL0Metric& config, const Sites& sites, const std::string& where) {
  return std::make_unique<CiL0>(config, sites, where);
}
std::unique_ptr<Gatherer> make_alive(const AliveMetric& config, const Sites& sites) {
  return std::make_unique<Alive>(config, sites);
}

}  // namespace vpd
