// A fresh adversary's attack on an evaluation batch (method, section 6): new sources, sign-gradient ascent,
// and the divergence of a forward after the last step. Routing is drawn once.

#include <ATen/ATen.h>

#include "batch.hpp"
#include "vpd/adversary/fresh.hpp"

namespace vpd {

double attack(const EvaluationBatch& batch, const FreshAdversaryConfig& adversary,
              const RoutingConfig& routing, std::uint64_t stream, Comparison comparison) {
  const auto number = static_cast<std::uint64_t>(batch.number);
  const Sites& sites = batch.decomposition.sites;
  FreshSources fresh =
      start_fresh(adversary, sites, batch.B, batch.key(RandomPurpose::fresh_sources, stream, number),
                  batch.decomposition.numerics);
  std::vector<at::Tensor> gradients;
  for (std::size_t i = 0; i < batch.lanes.size(); ++i) gradients.push_back(at::zeros_like(fresh.values));
  const RandomKey routing_key = batch.key(RandomPurpose::routing, stream, number);
  const auto pass = [&](const LaneBatch& lane, bool ascent) {
    const PassContext context = batch.context(lane);
    SourceUse use = use_fresh(fresh, lane.first_batch, batch.T, false);
    if (ascent) use.gradient = gradients[static_cast<std::size_t>(&lane - batch.lanes.data())];
    const double seed = ascent ? 1.0 / static_cast<double>(batch.positions()) : 0.0;
    return reconstruct(context, tensor_sources(sites, use), draw_routing(routing, routing_key, context), seed,
                       comparison);
  };
  for (std::int64_t step = 0; step < adversary.steps; ++step) {
    batch.sum([&](const LaneBatch& lane) { return pass(lane, true); });
    fresh.gradient = gradients.front();
    for (std::size_t i = 1; i < gradients.size(); ++i) {
      fresh.gradient.add_(gradients[i]);
      gradients[i].zero_();
    }
    step_fresh(fresh, adversary.step_size);
  }
  return batch.sum([&](const LaneBatch& lane) { return pass(lane, false); }) /
         static_cast<double>(batch.positions());
}

namespace {

class Pgd final : public Metric {
 public:
  Pgd(const PgdMetric& config, std::size_t number)
      : name_(config.name),
        adversary_{config.steps, config.step_size, config.init, config.scope},
        number_(number) {}

  void add(const EvaluationBatch& batch) override {
    const auto weight = static_cast<double>(batch.positions());
    weighted_ += weight * attack(batch, adversary_, AllRoutingConfig{}, number_);
    positions_ += weight;
  }

  void report(MetricValues& values) const override {
    values.emplace_back("pgd/" + name_, weighted_ / positions_);
  }

 private:
  std::string name_;
  FreshAdversaryConfig adversary_;
  std::size_t number_;
  double weighted_ = 0.0, positions_ = 0.0;
};

}  // namespace

std::unique_ptr<Metric> make_pgd(const PgdMetric& config, std::size_t number) {
  return std::make_unique<Pgd>(config, number);
}

}  // namespace vpd
