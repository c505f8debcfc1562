// Every term of the objective on evaluation data, at the values that its schedules have at the evaluated
// step. Persistent sources belong to training batches: in their place stands the standard attack, a fresh
// adversary of 20 steps of 0.1.

#include <map>
#include <type_traits>

#include <ATen/ATen.h>

#include "batch.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"
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
    const std::vector<MinimalityPower> powers =
        minimality_powers(objective, step_, batch.config.training.steps);
    for (std::size_t k = 0; k < objective.size(); ++k) {
      const std::string name = label(objective[k]);
      if (!sums_.contains(name)) order_.push_back(name);
      const double loss =
          std::visit([&](const auto& term) { return value(batch, term, powers, k); }, objective[k]);
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
    return std::holds_alternative<StochasticReconTerm>(term) ||
           std::holds_alternative<AdversarialReconTerm>(term);
  }

  template <class Term>
  static double value(const EvaluationBatch& batch, const Term& term,
                      const std::vector<MinimalityPower>& powers, std::uint64_t k) {
    const Decomposition& d = batch.decomposition;
    const auto mean = [&](const auto& sources, const RoutingConfig& routing, std::uint64_t draw) {
      return batch.sum([&](const LaneBatch& lane) {
        const PassContext context = batch.context(lane);
        return reconstruct(context, sources(context),
                           draw_routing(routing, batch.key(RandomPurpose::routing, k, draw), context), 0.0);
      }) / static_cast<double>(batch.positions());
    };
    if constexpr (std::is_same_v<Term, FaithfulnessTerm>) {
      double sum = 0.0;
      for (std::size_t i = 0; i < d.sites.size(); ++i)
        sum += squared_delta(d, i, 0.0, {}, {}).template item<double>();
      return sum / static_cast<double>(d.sites.entries());
    } else if constexpr (std::is_same_v<Term, ImportanceMinimalityTerm>) {
      return importance_minimality(sums(batch, powers.front()), batch.positions()).template item<double>();
    } else if constexpr (std::is_same_v<Term, FrequencyMinimalityTerm>) {
      return frequency_minimality(sums(batch, powers.back()), batch.positions()).template item<double>();
    } else if constexpr (std::is_same_v<Term, StochasticReconTerm>) {
      const SourceKind kind =
          term.sources == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
      double total = 0.0;
      for (std::int64_t s = 0; s < term.samples; ++s) {
        const auto draw = static_cast<std::uint64_t>(s);
        total += mean(
            [&](const PassContext& context) {
              return random_sources(context, kind, batch.key(RandomPurpose::mask_sources, k, draw));
            },
            term.routing, draw);
      }
      return total / static_cast<double>(term.samples);
    } else if constexpr (std::is_same_v<Term, AdversarialReconTerm>) {
      const auto* fresh = std::get_if<FreshAdversaryConfig>(&term.adversary);
      return attack(batch, fresh ? *fresh : FreshAdversaryConfig{}, term.routing, 1000 + k);
    } else {
      const double mask = std::is_same_v<Term, UnmaskedReconTerm> ? 1.0 : 0.0;
      return mean([&](const PassContext&) { return constant_sources(mask, 0.0); }, AllRoutingConfig{}, 0);
    }
  }

  static at::Tensor sums(const EvaluationBatch& batch, const MinimalityPower& power) {
    return batch.sum_tensors(
        [&](const LaneBatch& lane) { return power_sums(lane.importance.z, power.p, power.eps); });
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
