// Every term of the objective on evaluation data, at the values that its schedules have at the evaluated
// step. Persistent sources belong to training batches: in their place stands the standard attack, a fresh
// adversary of 20 steps of 0.1.

#include <map>

#include <ATen/ATen.h>

#include "batch.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/objective/schatten.hpp"
#include "vpd/passes/attribution.hpp"
#include "window.hpp"

namespace vpd {
namespace {

class Losses final : public Metric {
 public:
  explicit Losses(std::int64_t step) : step_(step) {}

  void add(const EvaluationBatch& batch) override {
    const ObjectiveConfig& objective = batch.config.objective;
    const auto weight = static_cast<double>(batch.positions());
    positions_ += weight;
    const std::vector<MinimalitySum> minimality =
        minimality_sums(objective, step_, batch.config.training.steps);
    for (std::size_t k = 0; k < objective.size(); ++k) {
      const std::string name = label(objective[k]);
      if (!sums_.contains(name)) order_.push_back(name);
      const double loss = std::visit(Value{batch, objective[k], minimality, k}, objective[k]);
      sums_[name] += weight * loss;
      if (is_noisy(objective[k])) windows_[name].add(loss);
    }
  }

  void report(MetricValues& values) const override {
    for (const std::string& name : order_) values.emplace_back("loss/" + name, sums_.at(name) / positions_);
    for (const auto& [name, window] : windows_) window.report("loss/" + name, values);
  }

 private:
  /// Whether its value hangs on draws or on an attack.
  static bool is_noisy(const TermConfig& term) {
    const auto* hidden = std::get_if<HiddenActsReconTerm>(&term);
    return std::holds_alternative<StochasticReconTerm>(term) ||
           std::holds_alternative<AdversarialReconTerm>(term) ||
           (hidden && !std::holds_alternative<CiMasksConfig>(hidden->masks));
  }

  /// One term on one batch: a mean over its positions.
  struct Value {
    const EvaluationBatch& batch;
    const TermConfig& config;
    const std::vector<MinimalitySum>& minimality;
    std::uint64_t number;  // of the term
    Comparison comparison = Comparison::output;
    at::Tensor kept_masks;  // wide [B T, Σ C], in place of the causal importances

    double operator()(const FaithfulnessTerm&) const {
      const Decomposition& d = batch.decomposition;
      double sum = 0.0;
      for (std::size_t i = 0; i < d.sites.size(); ++i) sum += squared_delta(d, i, 0.0, {}, {}).item<double>();
      return sum / static_cast<double>(d.sites.entries());
    }
    double operator()(const ImportanceMinimalityTerm&) const {
      return importance_minimality(sums(batch, minimality.front()), batch.positions()).item<double>();
    }
    double operator()(const FrequencyMinimalityTerm& term) const {
      return frequency_minimality(sums(batch, minimality.back()), batch.positions(), term.reference_count)
          .item<double>();
    }
    double operator()(const StochasticReconTerm& term) const { return random(term.samples, term.sources); }
    double operator()(const AdversarialReconTerm& term) const { return adversarial(term.adversary); }
    double operator()(const CiMaskedReconTerm&) const { return constant(0.0); }
    double operator()(const UnmaskedReconTerm&) const { return constant(1.0); }
    double operator()(const SchattenTerm& term) const {
      const Decomposition& d = batch.decomposition;
      at::Tensor weights;
      if (term.weighted_by_topk) weights = kept_by_attribution(batch).mean(0, false, at::kDouble);
      double sum = 0.0;
      for (std::size_t i = 0; i < d.sites.size(); ++i) {
        const at::Tensor of_site =
            weights.defined() ? weights.narrow(0, d.sites[i].offset, d.sites[i].C) : weights;
        sum += schatten(d, i, term, of_site, 0.0, {}, {}).item<double>();
      }
      return sum;
    }
    double operator()(const TopkAttributionReconTerm&) const {
      Value value = *this;
      value.comparison = Comparison::squared_error;
      value.kept_masks = kept_by_attribution(batch);
      return value.constant(0.0);
    }
    double operator()(const HiddenActsReconTerm& term) const {
      Value value = *this;
      value.comparison = Comparison::hidden_acts;
      return std::visit(value, term.masks);
    }
    double operator()(const RandomMasksConfig& masks) const { return random(masks.samples, masks.sources); }
    double operator()(const CiMasksConfig&) const { return constant(0.0); }
    double operator()(const AdversarialMasksConfig& masks) const { return adversarial(masks.adversary); }

   private:
    template <class Sources>
    double mean(const Sources& sources, std::uint64_t draw) const {
      return batch.sum([&](const LaneBatch& lane) {
        const at::Tensor importance = kept_masks.defined()
                                          ? kept_masks.narrow(0, lane.first_batch * batch.T, lane.clean.N())
                                          : kept_masks;
        const PassContext context = batch.context(lane, importance);
        const RoutingDraw routing =
            draw_routing(routing_of(config), batch.key(RandomPurpose::routing, number, draw), context);
        return reconstruct(context, sources(context), routing, 0.0, comparison);
      }) / static_cast<double>(batch.positions());
    }
    double random(std::int64_t samples, SourceDistribution distribution) const {
      const SourceKind kind =
          distribution == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
      double total = 0.0;
      for (std::int64_t s = 0; s < samples; ++s) {
        const auto draw = static_cast<std::uint64_t>(s);
        total += mean(
            [&](const PassContext& context) {
              return random_sources(context, kind, batch.key(RandomPurpose::mask_sources, number, draw));
            },
            draw);
      }
      return total / static_cast<double>(samples);
    }
    double adversarial(const AdversaryConfig& adversary) const {
      return attack(batch, evaluation_attack(adversary), routing_of(config), 1000 + number, comparison);
    }
    double constant(double mask) const {
      return mean([&](const PassContext&) { return constant_sources(mask, 0.0); }, 0);
    }
  };

  static at::Tensor sums(const EvaluationBatch& batch, const MinimalitySum& sum) {
    return batch.sum_tensors(
        [&](const LaneBatch& lane) { return penalty_sums(lane.importance.z, sum.penalty); });
  }

  std::int64_t step_;
  double positions_ = 0.0;
  std::vector<std::string> order_;
  std::map<std::string, double> sums_;
  std::map<std::string, Window> windows_;
};

}  // namespace

std::unique_ptr<Metric> make_losses(std::int64_t step) { return std::make_unique<Losses>(step); }

}  // namespace vpd
