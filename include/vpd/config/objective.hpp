#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "vpd/config/minimality.hpp"
#include "vpd/config/parameter_terms.hpp"
#include "vpd/config/reconstruction_terms.hpp"

// The weighted terms of the objective. What each computes, its plan says (config/plan.hpp).

namespace vpd {

using TermConfig =
    std::variant<FaithfulnessTerm, ImportanceMinimalityTerm, FrequencyMinimalityTerm, StochasticReconTerm,
                 AdversarialReconTerm, CiMaskedReconTerm, UnmaskedReconTerm, HiddenActsReconTerm,
                 TopkAttributionReconTerm, SchattenTerm>;

using ObjectiveConfig = std::vector<TermConfig>;

// The term's name in `train/loss/<label>`: its `name`, or its type where it has none. Distinct within an
// objective.
std::string label(const TermConfig& term);

const Coefficient& coefficient_of(const TermConfig& term);

// How an evaluation attacks in an adversary's place: as a fresh one does, and for a persistent one the
// standard attack.
FreshAdversaryConfig evaluation_attack(const AdversaryConfig& adversary);

// The first term of type `Term`, or null.
template <class Term>
const Term* find_term(const ObjectiveConfig& objective) {
  for (const TermConfig& term : objective) {
    if (const Term* found = std::get_if<Term>(&term)) return found;
  }
  return nullptr;
}

std::optional<config::Complaint> validate_frequency(const FrequencyMinimalityTerm& term,
                                                    const ObjectiveConfig& objective);
std::optional<config::Complaint> validate_objective(const ObjectiveConfig& objective, bool delta_component);

}  // namespace vpd
