#include "term_pass.hpp"

#include <type_traits>

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "vpd/base/error.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/schatten.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

/// One pass of one term, by the term's type.
class TermPass {
 public:
  TermPass(const StepContext& step, StepLane& lane, const StepTerm& term, std::int64_t draw, bool ascent)
      : step_(step),
        lane_(lane),
        term_(term),
        draw_(draw),
        ascent_(ascent),
        coefficient_(ascent ? 0.0 : step.values.terms[term.number].coefficient),
        positions_(static_cast<double>(step.B * step.T)),
        context_{.decomposition = &step.decomposition,
                 .clean = &lane.clean,
                 .importance = lane.importance.z.detach(),
                 .components = trains() ? &lane.components : &lane.frozen_components,
                 .first_row = lane.first_batch * step.T} {
    if (trains()) context_.importance_gradient = lane.importance_gradient;
  }

  at::Tensor operator()(const StochasticReconTerm& term) const { return random(term.samples, term.sources); }
  at::Tensor operator()(const AdversarialReconTerm& term) const { return adversarial(term.merged); }
  at::Tensor operator()(const CiMaskedReconTerm&) const { return constant(0.0); }
  at::Tensor operator()(const UnmaskedReconTerm&) const { return constant(1.0); }

  at::Tensor operator()(const HiddenActsReconTerm& term) const {
    return std::visit(
        [&](const auto& masks) {
          using Masks = std::decay_t<decltype(masks)>;
          if constexpr (std::is_same_v<Masks, RandomMasksConfig>) return random(masks.samples, masks.sources);
          if constexpr (std::is_same_v<Masks, CiMasksConfig>) return constant(0.0);
          if constexpr (std::is_same_v<Masks, AdversarialMasksConfig>) return adversarial({});
        },
        term.masks);
  }

  at::Tensor operator()(const TopkAttributionReconTerm&) const {
    TermPass alone = *this;
    alone.context_.importance = step_.kept.narrow(0, context_.first_row, lane_.clean.N());
    alone.context_.importance_gradient = at::Tensor();
    return alone.constant(0.0);
  }

  // Terms without a masked forward pass, which TrainingStep does not ask for.
  at::Tensor operator()(const FaithfulnessTerm&) const { return {}; }
  at::Tensor operator()(const SchattenTerm&) const { return {}; }
  at::Tensor operator()(const ImportanceMinimalityTerm&) const { return {}; }
  at::Tensor operator()(const FrequencyMinimalityTerm&) const { return {}; }

 private:
  bool trains() const { return coefficient_ != 0.0; }

  LateKey key(RandomPurpose purpose, std::int64_t which) const {
    return step_.values.key(purpose, term_.number, which);
  }

  RoutingDraw routing(std::int64_t draw) const {
    return draw_routing(routing_of(*term_.config), key(RandomPurpose::routing, draw), context_);
  }

  at::Tensor pass(const SourceOf& sources, const RoutingDraw& routing, double seed) const {
    Comparison comparison = Comparison::output;
    if (std::holds_alternative<HiddenActsReconTerm>(*term_.config)) comparison = Comparison::hidden_acts;
    if (std::holds_alternative<TopkAttributionReconTerm>(*term_.config))
      comparison = Comparison::squared_error;
    return reconstruct(context_, sources, routing, seed, comparison);
  }

  at::Tensor random(std::int64_t samples, SourceDistribution distribution) const {
    const SourceKind kind =
        distribution == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
    const double share = 1.0 / static_cast<double>(samples);
    at::Tensor sum;
    for (std::int64_t s = 0; s < samples; ++s) {
      const at::Tensor one = pass(random_sources(context_, kind, key(RandomPurpose::mask_sources, s)),
                                  routing(s), coefficient_ * share / positions_);
      sum = sum.defined() ? sum.add_(one) : one;
    }
    return sum.mul_(share);
  }

  at::Tensor adversarial(const std::optional<MergedMasksConfig>& merged) const {
    const bool fresh = !term_.persistent;
    const std::int64_t draw = fresh ? 0 : draw_;  // a fresh adversary keeps its first
    const RoutingDraw drawn = routing(draw);
    // Sources follow the gradient of the loss itself, so the coefficient that the backward pass carries is
    // divided out.
    const double scale = trains() ? 1.0 / coefficient_ : 1.0;
    const bool local = term_.local();
    const at::Tensor gradient = local ? term_.local_gradient : lane_.source_gradients[term_.number];
    SourceUse use;
    if (fresh) {
      use = use_fresh(term_.fresh, lane_.first_batch, step_.T, /*want_gradient=*/false);
      if (ascent_) use.gradient = gradient;
    } else if (term_.climbs) {
      use = term_.persistent->climb_in_pass(
          lane_.first_here, step_.T, scale,
          step_.values.terms[term_.number].ascents[static_cast<std::size_t>(draw_)]);
    } else {
      use = term_.persistent->use(local ? lane_.first_here : lane_.first_batch, lane_.clean.B(), step_.T,
                                  gradient, scale,
                                  /*once=*/!drawn.layerwise);
    }
    const double seed = (trains() ? coefficient_ : (fresh && !ascent_ ? 0.0 : 1.0)) / positions_;
    SourceOf sources = tensor_sources(use);
    if (merged) {
      const LateNumber& fraction = step_.values.terms[term_.number].adversarial_fraction;
      sources =
          merged_sources(std::move(sources),
                         draw_merged(*merged, fraction, key(RandomPurpose::merged_masks, draw), context_),
                         key(RandomPurpose::mask_sources, draw), context_);
    }
    return pass(sources, drawn, seed);
  }

  at::Tensor constant(double mask) const {
    return pass(constant_sources(mask, /*delta=*/0.0), routing(0), coefficient_ / positions_);
  }

  const StepContext& step_;
  StepLane& lane_;
  const StepTerm& term_;
  std::int64_t draw_;
  bool ascent_;
  double coefficient_, positions_;
  PassContext context_;
};

}  // namespace

at::Tensor term_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::int64_t draw,
                     bool ascent) {
  VPD_CHECK(family_of(*term.config) == TermFamily::reconstruction, UsageError,
            "expected a term with a masked forward pass, found {}", term.label);
  return std::visit(TermPass(step, lane, term, draw, ascent), *term.config);
}

at::Tensor parameter_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::size_t number,
                          std::size_t lanes) {
  const Decomposition& d = step.decomposition;
  const double seed = step.values.terms[term.number].coefficient / divisor(step, term);
  const auto* norms = std::get_if<SchattenTerm>(term.config);
  at::Tensor weights;
  if (norms && norms->weighted_by_topk) weights = step.kept.mean(0, false, at::kDouble);
  at::Tensor sum = at::zeros({}, d.numerics.options().dtype(at::kDouble));
  for (std::size_t i = number; i < d.sites.size(); i += lanes) {
    const auto gradient = [&](std::size_t parameter) {
      return seed != 0.0 ? lane.components[parameter].gradient : at::Tensor();
    };
    const at::Tensor V_gradient = gradient(2 * i), U_gradient = gradient(2 * i + 1);
    const at::Tensor of_site =
        weights.defined() ? weights.narrow(0, d.sites[i].offset, d.sites[i].C) : weights;
    sum.add_(norms ? schatten(d, i, *norms, of_site, seed, V_gradient, U_gradient)
                   : squared_delta(d, i, seed, V_gradient, U_gradient));
  }
  return sum;
}

double divisor(const StepContext& step, const StepTerm& term) {
  if (std::holds_alternative<SchattenTerm>(*term.config)) return 1.0;
  if (std::holds_alternative<FaithfulnessTerm>(*term.config))
    return static_cast<double>(step.decomposition.sites.entries());
  return static_cast<double>(step.B * step.T);
}

std::int64_t ascend_locally(const StepContext& step, StepLane& lane, const StepTerm& term) {
  if (!term.persistent) return 0;
  const std::int64_t ascents = term.persistent->config().warmup_steps;
  if (!term.local()) return ascents;  // the lanes made them together
  RECORD_USER_SCOPE(step_part::ascents(term.label));
  const Range rows = term.persistent->rows_of_batch(lane.first_here, lane.clean.B());
  for (std::int64_t draw = 0; draw < ascents; ++draw) {
    term_pass(step, lane, term, draw, /*ascent=*/true);
    if (term.climbs) continue;
    term.persistent->ascend(term.local_gradient, rows.begin, rows.end,
                            step.values.terms[term.number].ascents[static_cast<std::size_t>(draw)]);
  }
  return ascents;
}

}  // namespace vpd
