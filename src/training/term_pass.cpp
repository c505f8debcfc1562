#include "term_pass.hpp"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/schatten.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

/// What goes back from a loss, a mean over positions.
struct Backward {
  double seed = 0.0;          ///< its weight; 0: nothing goes back
  double source_scale = 1.0;  ///< what makes the gradient of sources that of the loss itself
  bool parameters = false;    ///< whether U, V and importances get gradients
};

Backward backward_for(Aim aim, double coefficient) {
  switch (aim) {
    case Aim::measure:
      return {};
    case Aim::ascend:
      return {.seed = 1.0};
    case Aim::train:
      break;
  }
  return {.seed = coefficient, .source_scale = 1.0 / coefficient, .parameters = true};
}

/// The passes of one reconstruction plan, by the kind of its masks.
class MaskedPasses {
 public:
  MaskedPasses(const StepContext& step, StepLane& lane, const StepTerm& term, Aim aim, std::int64_t draw)
      : step_(step),
        lane_(lane),
        term_(term),
        plan_(*term.plan.reconstruction()),
        aim_(aim),
        draw_(draw),
        backward_(backward_for(aim, step.values.terms[term.number].coefficient)),
        positions_(static_cast<double>(step.stream.compared(step.T))),
        context_{.decomposition = &step.decomposition,
                 .clean = &lane.clean,
                 .importance = lane.importance.z.detach(),
                 .importance_gradient = backward_.parameters ? lane.importance_gradient : at::Tensor(),
                 .components = backward_.parameters ? &lane.components : &lane.frozen_components,
                 .first_row = lane.first_batch * step.T} {}

  at::Tensor operator()(const RandomMasks& masks) const {
    const double share = 1.0 / static_cast<double>(masks.samples);
    at::Tensor sum;
    for (std::int64_t s = 0; s < masks.samples; ++s) {
      const at::Tensor one =
          pass(context_, random_sources(context_, masks.distribution, key(RandomPurpose::mask_sources, s)),
               routing(s), backward_.seed * share);
      sum = sum.defined() ? sum.add_(one) : one;
    }
    return sum.mul_(share);
  }

  at::Tensor operator()(const ConstantMasks& masks) const {
    return pass(context_, constant_sources(masks.source, /*delta=*/0.0), routing(0), backward_.seed);
  }

  at::Tensor operator()(const LargestMasks&) const {
    PassContext context = context_;
    context.importance = step_.kept.narrow(0, context_.first_row, lane_.clean.N());
    context.importance_gradient = at::Tensor();
    return pass(context, constant_sources(0.0, /*delta=*/0.0), routing(0), backward_.seed);
  }

  at::Tensor operator()(const AdversarialMasks& masks) const {
    const std::int64_t draw = term_.persistent ? draw_ : 0;  // a fresh adversary keeps its first
    const RoutingDraw drawn = routing(draw);
    SourceOf sources = adversary_sources(drawn);
    if (masks.merged) {
      const LateNumber& fraction = step_.values.terms[term_.number].adversarial_fraction;
      sources = merged_sources(
          std::move(sources),
          draw_merged(*masks.merged, fraction, key(RandomPurpose::merged_masks, draw), context_),
          key(RandomPurpose::mask_sources, draw), context_);
    }
    return pass(context_, sources, drawn, backward_.seed);
  }

 private:
  LateKey key(RandomPurpose purpose, std::int64_t which) const {
    return step_.values.key(purpose, term_.number, which);
  }

  RoutingDraw routing(std::int64_t draw) const {
    return draw_routing(plan_.routing, key(RandomPurpose::routing, draw), context_);
  }

  at::Tensor pass(const PassContext& context, const SourceOf& sources, const RoutingDraw& routing,
                  double seed) const {
    return reconstruct(context, with_delta(sources, plan_.delta), routing, seed / positions_,
                       plan_.comparison);
  }

  /// The adversary's sources, and where this pass leaves their gradient.
  SourceOf adversary_sources(const RoutingDraw& routing) const {
    const bool local = term_.local();
    const at::Tensor gradient = local ? term_.local_gradient : lane_.source_gradients[term_.number];
    if (!term_.persistent) {
      return use_fresh(term_.fresh, lane_.first_batch, step_.T,
                       aim_ == Aim::ascend ? gradient : at::Tensor());
    }
    if (term_.climbs) {
      return term_.persistent->climb_in_pass(
          lane_.first_here, step_.T, backward_.source_scale,
          step_.values.terms[term_.number].ascents[static_cast<std::size_t>(draw_)]);
    }
    return term_.persistent->use(local ? lane_.first_here : lane_.first_batch, lane_.clean.B(), step_.T,
                                 gradient, backward_.source_scale, /*once=*/!routing.layerwise);
  }

  const StepContext& step_;
  StepLane& lane_;
  const StepTerm& term_;
  const ReconstructionPlan& plan_;
  Aim aim_;
  std::int64_t draw_;
  Backward backward_;
  double positions_;
  PassContext context_;
};

}  // namespace

at::Tensor reconstruction_pass(const StepContext& step, StepLane& lane, const StepTerm& term, Aim aim,
                               std::int64_t draw) {
  return std::visit(MaskedPasses(step, lane, term, aim, draw), term.plan.reconstruction()->masks);
}

Aim aim_of_loss(const StepContext& step, const StepTerm& term) {
  if (step.values.terms[term.number].coefficient != 0.0) return Aim::train;
  return term.persistent ? Aim::ascend : Aim::measure;
}

at::Tensor parameter_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::size_t number,
                          std::size_t lanes) {
  const Decomposition& d = step.decomposition;
  const double seed =
      step.values.terms[term.number].coefficient / divisor(d, step.stream.compared(step.T), term);
  const auto* norms = std::get_if<SchattenPlan>(&term.plan.what);
  at::Tensor weights;
  if (norms && norms->weighted_by_kept) weights = step.kept.mean(0, false, at::kDouble);
  at::Tensor sum = at::zeros({}, d.numerics.options().dtype(at::kDouble));
  for (std::size_t i = number; i < d.sites.size(); i += lanes) {
    at::Tensor V_gradient, U_gradient;
    if (seed != 0.0) V_gradient = lane.components.V(i).gradient, U_gradient = lane.components.U(i).gradient;
    const at::Tensor of_site = weights.defined() ? d.sites.columns(weights, i) : weights;
    sum.add_(norms ? schatten(d, i, *norms, of_site, seed, V_gradient, U_gradient)
                   : squared_delta(d, i, seed, V_gradient, U_gradient));
  }
  return sum;
}

double divisor(const Decomposition& decomposition, std::int64_t compared, const StepTerm& term) {
  if (std::holds_alternative<SchattenPlan>(term.plan.what)) return 1.0;
  if (std::holds_alternative<FaithfulnessPlan>(term.plan.what))
    return static_cast<double>(decomposition.sites.entries());
  return static_cast<double>(compared);
}

std::int64_t ascend_locally(const StepContext& step, StepLane& lane, const StepTerm& term) {
  if (!term.persistent) return 0;
  const std::int64_t ascents = term.persistent->config().warmup_steps;
  if (!term.local()) return ascents;  // the lanes made them together
  RECORD_USER_SCOPE(step_part::ascents(term.plan.label));
  const Range rows = term.persistent->rows_of_batch(lane.first_here, lane.clean.B());
  for (std::int64_t draw = 0; draw < ascents; ++draw) {
    reconstruction_pass(step, lane, term, Aim::ascend, draw);
    if (term.climbs) continue;
    term.persistent->ascend(term.local_gradient, rows.begin, rows.end,
                            step.values.terms[term.number].ascents[static_cast<std::size_t>(draw)]);
  }
  return ascents;
}

}  // namespace vpd
