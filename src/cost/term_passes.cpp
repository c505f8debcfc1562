#include "term_passes.hpp"

#include <algorithm>

#include "vpd/passes/reconstruction.hpp"

namespace vpd {
namespace {

bool draws_subsets(const RoutingConfig& routing) {
  return std::holds_alternative<UniformKSubsetRoutingConfig>(routing) ||
         std::holds_alternative<StaticProbabilityRoutingConfig>(routing);
}

/// What the passes of a plan cost, by the kind of its masks.
struct Passes {
  const ReconstructionPlan& plan;
  bool trains;
  bool delta_component;

  TermPasses operator()(const RandomMasks& masks) const {
    return {.loss = kind(plan.delta.value_or(1.0) != 0.0 && delta_component), .samples = masks.samples};
  }
  TermPasses operator()(const ConstantMasks&) const {
    return {.loss = kind(plan.delta.value_or(0.0) != 0.0)};
  }
  TermPasses operator()(const LargestMasks&) const { return {.loss = kind(/*delta=*/false)}; }

  TermPasses operator()(const AdversarialMasks& masks) const {
    TermPasses passes{.loss = kind(delta_component), .ascent = kind(delta_component)};
    passes.ascent.backward = passes.ascent.sources = true;
    passes.ascent.trains = false;
    if (const auto* persistent = std::get_if<PersistentAdversaryConfig>(&masks.adversary)) {
      passes.ascents = persistent->warmup_steps;
      passes.shared =
          persistent->scope != PersistentScope::per_position && persistent->scope != PersistentScope::pooled;
      passes.loss.backward = passes.loss.sources = true;  // its gradient makes one more ascent
    } else {
      passes.ascents = std::get<FreshAdversaryConfig>(masks.adversary).steps;
      passes.shared = true;
    }
    return passes;
  }

 private:
  PassKind kind(bool delta) const {
    return {.backward = trains,
            .trains = trains,
            .delta = delta,
            .weight = delta || draws_subsets(plan.routing),
            .layerwise = std::holds_alternative<LayerwiseRoutingConfig>(plan.routing),
            .drawn = draws_subsets(plan.routing) ? &plan.routing : nullptr,
            .hidden_acts = plan.comparison == Comparison::hidden_acts,
            .squared_error = plan.comparison == Comparison::squared_error};
  }
};

}  // namespace

double share_of_positions(const PassKind& kind, std::int64_t L, std::int64_t N, bool on_cpu) {
  if (!kind.drawn) return 1.0;
  const double share = masked_share(*kind.drawn, L);
  if (on_cpu) return share;
  return static_cast<double>(most_masked_positions(share, N)) / static_cast<double>(N);
}

std::optional<TermPasses> passes_of(const TermPlan& term, bool delta_component) {
  const ReconstructionPlan* plan = term.reconstruction();
  if (!plan) return std::nullopt;
  return std::visit(Passes{*plan, term.coefficient.largest() != 0.0, delta_component}, plan->masks);
}

bool needs_whole_batch(const ObjectivePlan& objective) {
  return std::any_of(objective.begin(), objective.end(),
                     [](const TermPlan& term) { return term.minimality() || term.masks<LargestMasks>(); });
}

}  // namespace vpd
