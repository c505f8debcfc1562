// A fresh adversary's attack on evaluation batches (method, section 6): new sources, sign-gradient ascent,
// and the divergence of a forward after the last step. Routing is drawn once.

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "vpd/adversary/fresh.hpp"
#include "window.hpp"

namespace vpd {
namespace {

/// What an attack knows of its batches before it sees them.
struct Attacked {
  const Decomposition* decomposition = nullptr;
  std::int64_t B = 0;      ///< rows of the first of them
  std::int64_t T = 0;      ///< their length
  std::size_t lanes = 0;   ///< that it is divided among; no other has more
  RandomKey start;         ///< of the sources' first values
  double positions = 0.0;  ///< at which outputs are compared
  /// Calls its argument with one after another, each time anew: one at a time has to be in memory.
  std::function<void(const std::function<void(const Batch&)>&)> each;
};

Attacked attacked(const Batch& batch, std::uint64_t stream) {
  return {.decomposition = &batch.decomposition,
          .B = batch.B,
          .T = batch.T,
          .lanes = batch.lanes.size(),
          .start = batch.key(RandomPurpose::fresh_sources, stream, static_cast<std::uint64_t>(batch.number)),
          .positions = static_cast<double>(batch.compared()),
          .each = {}};
}

/// All batches meet the same sources, whose gradient is that of the mean over all positions.
double attack_together(const Attacked& batches, const FreshAdversaryConfig& adversary,
                       const ReconstructionPlan& plan, std::uint64_t stream) {
  const Sites& sites = batches.decomposition->sites;
  FreshSources fresh =
      start_fresh(adversary, sites, batches.B, batches.T, batches.start, batches.decomposition->numerics);
  std::vector<at::Tensor> gradients;  // per lane
  for (std::size_t i = 0; i < batches.lanes; ++i) gradients.push_back(at::zeros_like(fresh.values));
  const auto pass = [&](const Batch& batch, bool ascent) {
    const RandomKey routing_key =
        batch.key(RandomPurpose::routing, stream, static_cast<std::uint64_t>(batch.number));
    return batch.sum([&](const LaneBatch& lane) {
      const PassContext context = batch.context(lane);
      const SourceOf sources =
          use_fresh(fresh, lane.first_batch, batch.T, ascent ? gradients[lane.number] : at::Tensor());
      return reconstruct(context, with_delta(sources, plan.delta),
                         draw_routing(plan.routing, routing_key, context),
                         ascent ? 1.0 / batches.positions : 0.0, plan.comparison);
    });
  };
  for (std::int64_t step = 0; step < adversary.steps; ++step) {
    batches.each([&](const Batch& batch) { pass(batch, true); });
    fresh.gradient = gradients.front();
    for (std::size_t i = 1; i < gradients.size(); ++i) {
      fresh.gradient.add_(gradients[i]);
      gradients[i].zero_();
    }
    step_fresh(fresh, adversary.step_size);
  }
  double sum = 0.0;
  batches.each([&](const Batch& batch) { sum += pass(batch, false); });
  return sum / batches.positions;
}

/// Every site masked at every position, and the outputs compared.
const ReconstructionPlan plan_of_attack{AdversarialMasks{}};

class Pgd final : public Gatherer {
 public:
  Pgd(const PgdMetric& config, std::size_t number)
      : name_(config.name),
        adversary_{config.steps, config.step_size, config.init, config.scope},
        width_(config.batches),
        number_(number) {}

  void add(const Batch& batch) override {
    if (width_ == 1) {
      record(attack(batch, adversary_, plan_of_attack, number_), static_cast<double>(batch.compared()));
      return;
    }
    const bool first = numbers_.empty();
    if (first) waiting_ = attacked(batch, number_);
    if (!first) waiting_.positions += static_cast<double>(batch.compared());
    numbers_.push_back(batch.number);
    reader_ = batch.reader;
    if (static_cast<std::int64_t>(numbers_.size()) == width_) attack_waiting();
  }

  void finish() override {
    if (!numbers_.empty()) attack_waiting();  // fewer than `width_`
  }

  void report(MetricValues& values) const override {
    values.emplace_back("pgd/" + name_, weighted_ / positions_);
    attacks_.report("pgd/" + name_, values);
  }

 private:
  void record(double loss, double positions) {
    weighted_ += positions * loss;
    positions_ += positions;
    attacks_.add(loss);
  }

  void attack_waiting() {
    waiting_.each = [&](const std::function<void(const Batch&)>& visit) {
      for (const std::int64_t number : numbers_) visit(reader_->read(number));
    };
    record(attack_together(waiting_, adversary_, plan_of_attack, number_), waiting_.positions);
    numbers_.clear();
  }

  std::string name_;
  FreshAdversaryConfig adversary_;
  std::int64_t width_;
  std::size_t number_;
  std::vector<std::int64_t> numbers_;  // of batches that wait for the attack on them all
  Attacked waiting_;
  const BatchReader* reader_ = nullptr;
  double weighted_ = 0.0, positions_ = 0.0;
  Window attacks_;
};

}  // namespace

double attack(const Batch& batch, const FreshAdversaryConfig& adversary, const ReconstructionPlan& plan,
              std::uint64_t stream) {
  Attacked one = attacked(batch, stream);
  one.each = [&](const std::function<void(const Batch&)>& visit) { visit(batch); };
  return attack_together(one, adversary, plan, stream);
}

std::unique_ptr<Gatherer> make_pgd(const PgdMetric& config, std::size_t number) {
  return std::make_unique<Pgd>(config, number);
}

}  // namespace vpd
