#include "term_passes.hpp"

#include "vpd/passes/reconstruction.hpp"

namespace vpd {
namespace {

bool draws_subsets(const RoutingConfig& routing) {
  return std::holds_alternative<UniformKSubsetRoutingConfig>(routing) ||
         std::holds_alternative<StaticProbabilityRoutingConfig>(routing);
}

/// What a pass of a term costs, by its type and, for hidden_acts_recon, that of its masks.
struct Passes {
  const TermConfig& config;
  bool delta_component;

  using Result = std::optional<TermPasses>;
  Result operator()(const FaithfulnessTerm&) const { return std::nullopt; }
  Result operator()(const ImportanceMinimalityTerm&) const { return std::nullopt; }
  Result operator()(const FrequencyMinimalityTerm&) const { return std::nullopt; }
  Result operator()(const SchattenTerm&) const { return std::nullopt; }
  Result operator()(const StochasticReconTerm& term) const { return random(term.samples); }
  Result operator()(const AdversarialReconTerm& term) const { return adversarial(term.adversary); }
  Result operator()(const CiMaskedReconTerm&) const { return constant(); }
  Result operator()(const UnmaskedReconTerm&) const { return constant(); }
  Result operator()(const TopkAttributionReconTerm&) const { return constant(); }
  Result operator()(const HiddenActsReconTerm& term) const { return std::visit(*this, term.masks); }
  Result operator()(const RandomMasksConfig& masks) const { return random(masks.samples); }
  Result operator()(const CiMasksConfig&) const { return constant(); }
  Result operator()(const AdversarialMasksConfig& masks) const { return adversarial(masks.adversary); }

 private:
  PassKind kind(bool delta) const {
    const bool trains = coefficient_of(config).start != 0.0;
    const RoutingConfig& routing = routing_of(config);
    return {.backward = trains,
            .trains = trains,
            .delta = delta,
            .weight = delta || draws_subsets(routing),
            .layerwise = std::holds_alternative<LayerwiseRoutingConfig>(routing),
            .drawn = draws_subsets(routing) ? &routing : nullptr,
            .hidden_acts = std::holds_alternative<HiddenActsReconTerm>(config),
            .squared_error = std::holds_alternative<TopkAttributionReconTerm>(config)};
  }

  TermPasses constant() const { return {.loss = kind(/*delta=*/false)}; }

  TermPasses random(std::int64_t samples) const {
    return {.loss = kind(delta_component), .samples = samples};
  }

  TermPasses adversarial(const AdversaryConfig& adversary) const {
    TermPasses passes{.loss = kind(delta_component), .ascent = kind(delta_component)};
    passes.ascent.backward = passes.ascent.sources = true;
    passes.ascent.trains = false;
    if (const auto* persistent = std::get_if<PersistentAdversaryConfig>(&adversary)) {
      passes.ascents = persistent->warmup_steps;
      passes.shared =
          persistent->scope != PersistentScope::per_position && persistent->scope != PersistentScope::pooled;
      passes.loss.backward = passes.loss.sources = true;  // its gradient makes one more ascent
    } else {
      passes.ascents = std::get<FreshAdversaryConfig>(adversary).steps;
      passes.shared = true;
    }
    return passes;
  }
};

}  // namespace

double share_of_positions(const PassKind& kind, std::int64_t L, std::int64_t N, bool on_cpu) {
  if (!kind.drawn) return 1.0;
  const double share = masked_share(*kind.drawn, L);
  if (on_cpu) return share;
  return static_cast<double>(most_masked_positions(share, N)) / static_cast<double>(N);
}

std::optional<TermPasses> passes_of(const TermConfig& config, bool delta_component) {
  return std::visit(Passes{config, delta_component}, config);
}

bool needs_whole_batch(const ObjectiveConfig& objective) {
  return find_term<ImportanceMinimalityTerm>(objective) || find_term<FrequencyMinimalityTerm>(objective) ||
         find_term<TopkAttributionReconTerm>(objective);
}

}  // namespace vpd
