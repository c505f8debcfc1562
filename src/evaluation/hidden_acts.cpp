// Mean squared error between each site's output in the clean and in a masked forward, all entries weighted
// equally: of all sites together and of each.

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "window.hpp"

namespace vpd {
namespace {

class HiddenActs final : public Gatherer {
 public:
  explicit HiddenActs(const Sites& sites) : sites_(sites) {}

  bool needs_outputs() const override { return true; }

  void add(const Batch& batch) override {
    positions_ += static_cast<double>(batch.positions());
    double entries = 0.0;
    for (const Site& site : sites_) entries += static_cast<double>(batch.positions() * site.d_out);
    entries_ += entries;
    add_to(ci_masked_, batch, [](const PassContext&) { return constant_sources(0.0, 0.0); });
    const double sum = add_to(stochastic_, batch, [&](const PassContext& context) {
      return random_sources(context, SourceDistribution::uniform, batch.key(RandomPurpose::evaluation, 3));
    });
    window_.add(sum / entries);
  }

  void report(MetricValues& values) const override {
    report_masking("hidden_acts/ci_masked", ci_masked_, values);
    report_masking("hidden_acts/stochastic", stochastic_, values);
    window_.report("hidden_acts/stochastic", values);
  }

 private:
  /// float64 [L + 1] on the CPU: squared errors of each site, then of all.
  template <class Sources>
  static double add_to(at::Tensor& sums, const Batch& batch, const Sources& sources) {
    const at::Tensor of_batch = batch
                                    .sum_tensors([&](const LaneBatch& lane) {
                                      return squared_errors(batch, lane, sources(batch.context(lane)));
                                    })
                                    .cpu();
    sums = sums.defined() ? sums.add_(of_batch) : of_batch.clone();
    return of_batch[-1].item<double>();
  }

  static at::Tensor squared_errors(const Batch& batch, const LaneBatch& lane, const SourceOf& sources) {
    const std::vector<SitePass> passes = site_passes(batch.context(lane), sources, {}, 0);
    const Decomposition& d = batch.decomposition;
    MaskedExecutor executor(d.sites, passes, /*keep_outputs=*/true);
    const at::Tensor hidden = d.target->hidden(lane.clean.input, executor, lane.clean.start);
    if (!d.frozen_head()) d.target->output(hidden, executor);  // it may hold sites of its own
    const at::ScalarType wide = d.numerics.wide;
    std::vector<at::Tensor> sums;
    at::Tensor all = at::zeros({}, lane.importance.lower.options().dtype(at::kDouble));
    for (std::size_t i = 0; i < executor.outputs.size(); ++i) {
      sums.push_back(
          at::sub(executor.outputs[i].to(wide), lane.clean.outputs[i].to(wide)).square().sum(at::kDouble));
      all.add_(sums.back());
    }
    sums.push_back(all);
    return at::stack(sums);
  }

  void report_masking(const std::string& name, const at::Tensor& sums, MetricValues& values) const {
    values.emplace_back(name, sums[-1].item<double>() / entries_);
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      values.emplace_back(name + "/" + sites_[i].name,
                          sums[static_cast<std::int64_t>(i)].item<double>() /
                              (positions_ * static_cast<double>(sites_[i].d_out)));
    }
  }

  const Sites& sites_;
  double positions_ = 0.0, entries_ = 0.0;
  at::Tensor ci_masked_, stochastic_;
  Window window_;
};

}  // namespace

std::unique_ptr<Gatherer> make_hidden_acts(const Sites& sites) { return std::make_unique<HiddenActs>(sites); }

}  // namespace vpd
