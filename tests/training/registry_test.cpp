// What a test of every term says of "every" it says of the list of kinds itself: a new kind that trace.hpp
// leaves out would meet no lanes, micro-batches, processes or emulated kernels.

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "support/kinds.hpp"
#include "trace.hpp"

namespace vpd::testing {
namespace {

TEST(Registry, TracesHaveEveryKindOfTermMasksAdversaryAndRouting) {
  const GoldenCase golden("plain", at::kFloat, {every_term});
  std::set<std::string> terms, routings, adversaries, hidden;
  for (const TermConfig& term : golden.config.objective) {
    terms.insert(kind_of(term));
    if (const auto* acts = std::get_if<HiddenActsReconTerm>(&term)) hidden.insert(kind_of(acts->masks));
  }
  for (const TermPlan& term : plan_of(golden.config.objective)) {
    if (const ReconstructionPlan* plan = term.reconstruction()) routings.insert(kind_of(plan->routing));
    if (term.adversary()) adversaries.insert(kind_of(*term.adversary()));
  }
  EXPECT_EQ(terms, kinds_of(static_cast<const TermConfig*>(nullptr)));
  EXPECT_EQ(routings, kinds_of(static_cast<const RoutingConfig*>(nullptr)));
  EXPECT_EQ(adversaries, kinds_of(static_cast<const AdversaryConfig*>(nullptr)));
  EXPECT_EQ(hidden, kinds_of(static_cast<const HiddenActsMasksConfig*>(nullptr)));
}

}  // namespace
}  // namespace vpd::testing
