#include "term_passes.hpp"

#include <type_traits>

namespace vpd {
namespace {

bool draws_subsets(const RoutingConfig& routing) {
  return std::holds_alternative<UniformKSubsetRoutingConfig>(routing) ||
         std::holds_alternative<StaticProbabilityRoutingConfig>(routing);
}

bool is_layerwise(const RoutingConfig& routing) {
  return std::holds_alternative<LayerwiseRoutingConfig>(routing);
}

TermPasses adversarial(const AdversarialReconTerm& term, bool delta_component) {
  TermPasses passes;
  const bool trains = term.coefficient.start != 0.0;
  PassKind kind{.weight = delta_component || draws_subsets(term.routing),
                .layerwise = is_layerwise(term.routing)};
  passes.ascent = kind;
  passes.ascent.trains = false, passes.ascent.sources = true;
  if (const auto* persistent = std::get_if<PersistentAdversaryConfig>(&term.adversary)) {
    passes.ascents = persistent->warmup_steps;
    passes.shared = persistent->scope != PersistentScope::per_position;
    passes.loss = passes.ascent;  // its gradient makes one more ascent
    passes.loss.trains = trains;
  } else {
    passes.ascents = std::get<FreshAdversaryConfig>(term.adversary).steps;
    passes.shared = true;
    passes.loss = kind;
    passes.loss.trains = passes.loss.backward = trains;
  }
  return passes;
}

}  // namespace

std::optional<TermPasses> passes_of(const TermConfig& config, bool delta_component) {
  return std::visit(
      [&](const auto& term) -> std::optional<TermPasses> {
        using Term = std::decay_t<decltype(term)>;
        const bool trains = term.coefficient.start != 0.0;
        TermPasses passes;
        passes.loss.backward = passes.loss.trains = trains;
        if constexpr (std::is_same_v<Term, StochasticReconTerm>) {
          passes.samples = term.samples;
          passes.loss.weight = delta_component || draws_subsets(term.routing);
          passes.loss.layerwise = is_layerwise(term.routing);
        } else if constexpr (std::is_same_v<Term, AdversarialReconTerm>) {
          passes = adversarial(term, delta_component);
        } else if constexpr (std::is_same_v<Term, CiMaskedReconTerm> ||
                             std::is_same_v<Term, UnmaskedReconTerm>) {
          passes.loss.weight = false;
        } else {
          return std::nullopt;
        }
        return passes;
      },
      config);
}

bool has_minimality(const ObjectiveConfig& objective) {
  return find_term<ImportanceMinimalityTerm>(objective) || find_term<FrequencyMinimalityTerm>(objective);
}

}  // namespace vpd
