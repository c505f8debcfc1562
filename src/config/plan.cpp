#include "vpd/config/plan.hpp"

#include <algorithm>

#include "vpd/config/minimality.hpp"

namespace vpd {

const LargestMasks* largest_masks(const ObjectivePlan& objective) {
  for (const TermPlan& term : objective) {
    if (const auto* masks = term.masks<LargestMasks>()) return masks;
  }
  return nullptr;
}

bool compares_sites(const ObjectivePlan& objective) {
  return std::any_of(objective.begin(), objective.end(), [](const TermPlan& term) {
    return term.reconstruction() && term.reconstruction()->comparison == Comparison::hidden_acts;
  });
}

void complete_penalties(ObjectivePlan& objective) {
  MinimalityPlan lender = ImportanceMinimalityTerm{}.plan();
  for (const TermPlan& term : objective) {
    if (const MinimalityPlan* plan = term.minimality(); plan && !plan->frequency) lender = *plan;
  }
  for (TermPlan& term : objective) {
    auto* plan = std::get_if<MinimalityPlan>(&term.what);
    if (!plan) continue;
    if (!plan->penalty) plan->penalty = lender.penalty;
    if (!plan->p) plan->p = lender.p;
    if (!plan->eps) plan->eps = lender.eps;
  }
}

}  // namespace vpd
