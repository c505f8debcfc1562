#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "vpd/config/adversary.hpp"
#include "vpd/config/masks.hpp"
#include "vpd/config/penalty.hpp"
#include "vpd/config/routing.hpp"
#include "vpd/config/schedule.hpp"
#include "vpd/config/term.hpp"

// The normal form of the objective's terms: what a term computes, whatever it is called in a configuration.
// Every term says its plan (`plan()`), once; training, evaluation and the prediction of costs read plans, and
// ask no term for its type. So a new term that does what a plan can say is a struct with a plan, and one line
// in TermConfig (config/objective.hpp).

namespace vpd {

/// Masks from random sources, in `samples` passes of which the mean counts.
struct RandomMasks {
  std::int64_t samples = 1;
  SourceDistribution distribution = SourceDistribution::uniform;
};

/// Masks g + (1 - g) source, with the Delta-component off.
struct ConstantMasks {
  double source = 0.0;
};

/// Masks from sources that an adversary chose or, where they are merged, in part from random ones.
struct AdversarialMasks {
  AdversaryConfig adversary;
  std::optional<MergedMasksConfig> merged;
};

/// 1 for those subcomponents of the batch that have the largest gradient attributions, `kept` a position in
/// the mean, 0 for the others, and the Delta-component off.
struct LargestMasks {
  double kept = 1.0;
};

using Masks = std::variant<RandomMasks, ConstantMasks, AdversarialMasks, LargestMasks>;

/// What of a masked forward pass is compared with the clean one.
enum class Comparison {
  output,         ///< the target's output, by the target's own divergence
  squared_error,  ///< the target's output, by the mean squared error of its entries
  hidden_acts,    ///< what every site gave, by the mean squared error over all their entries
};

/// Masked forward passes through the target.
struct ReconstructionPlan {
  Masks masks;
  Comparison comparison = Comparison::output;
  RoutingConfig routing = AllRoutingConfig{};
  std::optional<double> delta{};  ///< Δ-mask everywhere; none: from the masks' sources

  const AdversaryConfig* adversary() const {
    const auto* chosen = std::get_if<AdversarialMasks>(&masks);
    return chosen ? &chosen->adversary : nullptr;
  }
  /// Whether its value hangs on draws or on an attack.
  bool noisy() const {
    return std::holds_alternative<RandomMasks>(masks) || std::holds_alternative<AdversarialMasks>(masks);
  }
};

/// A sum over subcomponents of the mean penalty f_c, or of f_c log2(1 + f_c R).
struct MinimalityPlan {
  std::optional<PenaltyConfig> penalty;  ///< all three are there once plan_of() has completed them
  std::optional<Annealed> p;
  std::optional<double> eps;
  bool frequency = false;                             ///< f_c log2(1 + f_c R)
  std::optional<double> reference_count;              ///< R; none: the batch's positions
  std::optional<MovingAverageConfig> moving_average;  ///< what f_c is taken from; none: the batch

  /// Whether both sum the same penalty all along.
  bool shares_penalty(const MinimalityPlan& other) const {
    const bool power = std::holds_alternative<PowerPenaltyConfig>(*penalty);
    return penalty == other.penalty && (!power || (p == other.p && eps == other.eps));
  }
};

/// |W - (VU)^T|^2 over all sites, divided by the number of entries.
struct FaithfulnessPlan {};

/// Sum over subcomponents of (|U_c|^2 |V_c|^2 + eps)^(p/2), each weighted by the part of the batch's
/// positions at which LargestMasks keep it where `weighted_by_kept`.
struct SchattenPlan {
  double p = 1.0;
  double eps = 1e-12;
  bool weighted_by_kept = false;
};

/// One term of the objective.
struct TermPlan {
  std::string label;
  Coefficient coefficient;
  std::variant<FaithfulnessPlan, SchattenPlan, MinimalityPlan, ReconstructionPlan> what;
  TermRows rows = TermRows::target;  ///< of the batch that it is taken of

  const ReconstructionPlan* reconstruction() const { return std::get_if<ReconstructionPlan>(&what); }
  const MinimalityPlan* minimality() const { return std::get_if<MinimalityPlan>(&what); }
  const AdversaryConfig* adversary() const {
    return reconstruction() ? reconstruction()->adversary() : nullptr;
  }
  /// Its masks, where they are of that kind.
  template <class Kind>
  const Kind* masks() const {
    return reconstruction() ? std::get_if<Kind>(&reconstruction()->masks) : nullptr;
  }
};

using ObjectivePlan = std::vector<TermPlan>;

/// The LargestMasks of the objective, which has them once at most, or null.
const LargestMasks* largest_masks(const ObjectivePlan& objective);

/// Whether some term compares what the sites give.
bool compares_sites(const ObjectivePlan& objective);

/// The terms that are taken of these rows.
ObjectivePlan terms_of(const ObjectivePlan& objective, TermRows rows);

/// Gives a frequency term whatever it leaves out from the importance term of its rows, or from that term's
/// defaults.
void complete_penalties(ObjectivePlan& objective);

/// The plans of terms of a list of kinds, completed.
template <class... Terms>
ObjectivePlan plan_of(const std::vector<std::variant<Terms...>>& objective) {
  ObjectivePlan plans;
  for (const std::variant<Terms...>& term : objective) {
    plans.push_back(std::visit(
        []<class Term>(const Term& t) {
          TermRows rows = TermRows::target;
          if constexpr (requires { t.rows; }) rows = t.rows;
          return TermPlan{t.name.value_or(std::string(Term::kind)), t.coefficient, t.plan(), rows};
        },
        term));
  }
  complete_penalties(plans);
  return plans;
}

}  // namespace vpd
