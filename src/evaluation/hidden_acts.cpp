// Mean squared error between each site's output in the clean and in a masked forward, all entries weighted
// equally.

#include <ATen/ATen.h>

#include "batch.hpp"

namespace vpd {
namespace {

class HiddenActs final : public Metric {
 public:
  void add(const EvaluationBatch& batch) override {
    for (const Site& site : batch.decomposition.sites)
      entries_ += static_cast<double>(batch.positions() * site.d_out);
    ci_masked_ += batch.sum(
        [&](const LaneBatch& lane) { return squared_error(batch, lane, constant_sources(0.0, 0.0)); });
    stochastic_ += batch.sum([&](const LaneBatch& lane) {
      const PassContext context = batch.context(lane);
      return squared_error(
          batch, lane, random_sources(context, SourceKind::uniform, batch.key(RandomPurpose::evaluation, 3)));
    });
  }

  void report(MetricValues& values) const override {
    values.emplace_back("hidden_acts/ci_masked", ci_masked_ / entries_);
    values.emplace_back("hidden_acts/stochastic", stochastic_ / entries_);
  }

 private:
  static at::Tensor squared_error(const EvaluationBatch& batch, const LaneBatch& lane,
                                  const SourceOf& sources) {
    const std::vector<SitePass> passes = site_passes(batch.context(lane), sources, {}, 0);
    MaskedExecutor executor(batch.decomposition.sites, passes, /*keep_outputs=*/true);
    batch.decomposition.target->forward(lane.clean.input, executor);
    const at::ScalarType wide = batch.decomposition.numerics.wide;
    at::Tensor sum = at::zeros({}, lane.importance.lower.options().dtype(at::kDouble));
    for (std::size_t i = 0; i < executor.outputs.size(); ++i) {
      sum.add_(
          at::sub(executor.outputs[i].to(wide), lane.clean.outputs[i].to(wide)).square().sum(at::kDouble));
    }
    return sum;
  }

  double entries_ = 0.0, ci_masked_ = 0.0, stochastic_ = 0.0;
};

}  // namespace

std::unique_ptr<Metric> make_hidden_acts() { return std::make_unique<HiddenActs>(); }

}  // namespace vpd
