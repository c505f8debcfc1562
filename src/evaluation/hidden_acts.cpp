// Mean squared error between each site's output in the clean and in a masked forward, all entries weighted
// equally.

#include <ATen/ATen.h>

#include "batch.hpp"

namespace vpd {
namespace {

class HiddenActs final : public Metric {
 public:
  void add(const EvaluationBatch& batch) override {
    positions_ += static_cast<double>(batch.positions());
    ci_masked_ += squared_error(batch, [](const PassContext&) { return constant_sources(0.0, 0.0); });
    stochastic_ += squared_error(batch, [&](const PassContext& context) {
      return random_sources(context, SourceKind::uniform, batch.key(RandomPurpose::evaluation, 3));
    });
  }

  void report(MetricValues& values) const override {
    values.emplace_back("hidden_acts/ci_masked", ci_masked_ / positions_);
    values.emplace_back("hidden_acts/stochastic", stochastic_ / positions_);
  }

 private:
  template <class Sources>
  static double squared_error(const EvaluationBatch& batch, const Sources& sources) {
    return batch.sum([&](const LaneBatch& lane) {
      const PassContext context = batch.context(lane);
      return reconstruct(context, sources(context), {}, 0.0, Comparison::hidden_acts);
    });
  }

  double positions_ = 0.0, ci_masked_ = 0.0, stochastic_ = 0.0;
};

}  // namespace

std::unique_ptr<Metric> make_hidden_acts() { return std::make_unique<HiddenActs>(); }

}  // namespace vpd
