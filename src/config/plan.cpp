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

ObjectivePlan terms_of(const ObjectivePlan& objective, TermRows rows) {
  ObjectivePlan of_rows;
  for (const TermPlan& term : objective) {
    if (term.rows == rows) of_rows.push_back(term);
  }
  return of_rows;
}

bool compares_sites(const ObjectivePlan& objective) {
  return std::any_of(objective.begin(), objective.end(), [](const TermPlan& term) {
    return term.reconstruction() && term.reconstruction()->comparison == Comparison::hidden_acts;
  });
}

void complete_penalties(ObjectivePlan& objective) {
  const auto lender_of = [&](TermRows rows) {
    for (const TermPlan& term : objective) {
      const MinimalityPlan* plan = term.minimality();
      if (plan && !plan->frequency && term.rows == rows) return *plan;
    }
    return ImportanceMinimalityTerm{}.plan();
  };
  for (TermPlan& term : objective) {
    auto* plan = std::get_if<MinimalityPlan>(&term.what);
    if (!plan) continue;
    const MinimalityPlan lender = lender_of(term.rows);
    if (!plan->penalty) plan->penalty = lender.penalty;
    if (!plan->p) plan->p = lender.p;
    if (!plan->eps) plan->eps = lender.eps;
  }
}

}  // namespace vpd
