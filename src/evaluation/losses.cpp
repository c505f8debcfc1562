// Every term of the objective on evaluation data, at the values that its schedules have at the evaluated
// step. Persistent sources belong to training batches: in their place stands the standard attack, a fresh
// adversary of 20 steps of 0.1.

#include <map>

#include <ATen/ATen.h>

#include "metrics.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/objective/schatten.hpp"
#include "window.hpp"

namespace vpd {
namespace {

/// One term on one batch: a mean over its positions.
class TermLoss {
 public:
  TermLoss(const Batch& batch, const TermPlan& term, std::uint64_t number, const ObjectivePlan& objective,
           const std::vector<MinimalitySum>& minimality)
      : batch_(batch), term_(term), number_(number), objective_(objective), minimality_(minimality) {}

  double operator()(const FaithfulnessPlan&) const {
    const Decomposition& d = batch_.decomposition;
    double sum = 0.0;
    for (std::size_t i = 0; i < d.sites.size(); ++i) sum += squared_delta(d, i, 0.0, {}, {}).item<double>();
    return sum / static_cast<double>(d.sites.entries());
  }

  double operator()(const SchattenPlan& plan) const {
    const Decomposition& d = batch_.decomposition;
    at::Tensor weights;
    if (plan.weighted_by_kept) weights = largest().mean(0, false, at::kDouble);
    double sum = 0.0;
    for (std::size_t i = 0; i < d.sites.size(); ++i) {
      const at::Tensor of_site = weights.defined() ? d.sites.columns(weights, i) : weights;
      sum += schatten(d, i, plan, of_site, 0.0, {}, {}).item<double>();
    }
    return sum;
  }

  double operator()(const ReconstructionPlan& plan) const { return std::visit(*this, plan.masks); }

  double operator()(const RandomMasks& masks) const {
    double total = 0.0;
    for (std::int64_t s = 0; s < masks.samples; ++s) {
      const auto draw = static_cast<std::uint64_t>(s);
      total += mean(
          [&](const PassContext& context) {
            return random_sources(context, masks.distribution,
                                  batch_.key(RandomPurpose::mask_sources, number_, draw));
          },
          draw);
    }
    return total / static_cast<double>(masks.samples);
  }

  double operator()(const ConstantMasks& masks) const {
    return mean([&](const PassContext&) { return constant_sources(masks.source, 0.0); }, 0);
  }

  double operator()(const LargestMasks&) const {
    return mean([&](const PassContext&) { return constant_sources(0.0, 0.0); }, 0, largest());
  }

  double operator()(const AdversarialMasks& masks) const {
    const ReconstructionPlan& plan = *term_.reconstruction();
    return attack(batch_, evaluation_attack(masks.adversary), plan, 1000 + number_);
  }

  double operator()(const MinimalityPlan& plan) const {
    const Penalty& penalty = (plan.frequency ? minimality_.back() : minimality_.front()).penalty;
    const at::Tensor sums =
        batch_.sum_tensors([&](const LaneBatch& lane) { return penalty_sums(lane.importance.z, penalty); });
    const std::int64_t N = batch_.positions();
    return (plan.frequency ? frequency_minimality(sums, N, plan.reference_count)
                           : importance_minimality(sums, N))
        .item<double>();
  }

 private:
  at::Tensor largest() const { return largest_of(batch_, largest_masks(objective_)->kept); }

  /// `masks`: wide [B T, Σ C], in place of the causal importances where defined.
  template <class Sources>
  double mean(const Sources& sources, std::uint64_t draw, const at::Tensor& masks = {}) const {
    const ReconstructionPlan& plan = *term_.reconstruction();
    return batch_.sum([&](const LaneBatch& lane) {
      const at::Tensor importance =
          masks.defined() ? masks.narrow(0, lane.first_batch * batch_.T, lane.clean.N()) : masks;
      const PassContext context = batch_.context(lane, importance);
      const RoutingDraw routing =
          draw_routing(plan.routing, batch_.key(RandomPurpose::routing, number_, draw), context);
      return reconstruct(context, with_delta(sources(context), plan.delta), routing, 0.0, plan.comparison);
    }) / static_cast<double>(batch_.compared());
  }

  const Batch& batch_;
  const TermPlan& term_;
  std::uint64_t number_;  // of the term
  const ObjectivePlan& objective_;
  const std::vector<MinimalitySum>& minimality_;
};

class Losses final : public Gatherer {
 public:
  Losses(ObjectivePlan objective, TermRows rows, std::int64_t step, std::int64_t steps)
      : objective_(std::move(objective)),
        rows_(rows),
        minimality_(minimality_sums(terms_of(objective_, rows), step, steps)) {}

  bool needs_outputs() const override { return compares_sites(objective_); }

  void add(const Batch& batch) override {
    const auto weight = static_cast<double>(batch.positions());
    positions_ += weight;
    for (std::size_t k = 0; k < objective_.size(); ++k) {
      const TermPlan& term = objective_[k];
      if (term.rows != rows_) continue;
      const double loss = std::visit(TermLoss(batch, term, k, objective_, minimality_), term.what);
      sums_[term.label] += weight * loss;
      if (term.reconstruction() && term.reconstruction()->noisy()) windows_[term.label].add(loss);
    }
  }

  void report(MetricValues& values) const override {
    if (positions_ > 0.0) {
      for (const TermPlan& term : terms_of(objective_, rows_))
        values.emplace_back("loss/" + term.label, sums_.at(term.label) / positions_);
    }
    for (const auto& [name, window] : windows_) window.report("loss/" + name, values);
  }

 private:
  ObjectivePlan objective_;
  TermRows rows_;
  std::vector<MinimalitySum> minimality_;
  double positions_ = 0.0;
  std::map<std::string, double> sums_;
  std::map<std::string, Window> windows_;
};

}  // namespace

std::unique_ptr<Gatherer> make_losses(ObjectivePlan objective, TermRows rows, std::int64_t step,
                                      std::int64_t steps) {
  return std::make_unique<Losses>(std::move(objective), rows, step, steps);
}

}  // namespace vpd
