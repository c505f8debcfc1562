#include "term_pass.hpp"

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/reconstruction.hpp"

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

  at::Tensor operator()(const StochasticReconTerm& term) const {
    const SourceKind kind =
        term.sources == SourceDistribution::uniform ? SourceKind::uniform : SourceKind::binomial;
    const double share = 1.0 / static_cast<double>(term.samples);
    at::Tensor sum;
    for (std::int64_t s = 0; s < term.samples; ++s) {
      const RoutingDraw routing = draw_routing(term.routing, key(RandomPurpose::routing, s), context_);
      const at::Tensor one =
          reconstruct(context_, random_sources(context_, kind, key(RandomPurpose::mask_sources, s)), routing,
                      coefficient_ * share / positions_);
      sum = sum.defined() ? sum.add_(one) : one;
    }
    return sum.mul_(share);
  }

  at::Tensor operator()(const AdversarialReconTerm& term) const { return adversarial(term.routing); }
  at::Tensor operator()(const CiMaskedReconTerm&) const { return constant(0.0); }
  at::Tensor operator()(const UnmaskedReconTerm&) const { return constant(1.0); }

  template <class Term>
  at::Tensor operator()(const Term&) const {
    throw UsageError(fmt::format("expected a term with a masked forward pass, found {}", Term::kind));
  }

 private:
  bool trains() const { return coefficient_ != 0.0; }

  LateKey key(RandomPurpose purpose, std::int64_t which) const {
    return step_.values.key(purpose, term_.number, which);
  }

  at::Tensor adversarial(const RoutingConfig& routing_config) const {
    const bool fresh = !term_.persistent;
    const RoutingDraw routing =
        draw_routing(routing_config, key(RandomPurpose::routing, fresh ? 0 : draw_), context_);
    // Sources follow the gradient of the loss itself, so the coefficient that the backward pass carries is
    // divided out.
    const double scale = trains() ? 1.0 / coefficient_ : 1.0;
    const bool local = term_.local_gradient.defined();
    const at::Tensor gradient = local ? term_.local_gradient : lane_.source_gradients[term_.number];
    SourceUse use;
    if (fresh) {
      use = use_fresh(term_.fresh, lane_.first_batch, step_.T, /*want_gradient=*/false);
      if (ascent_) use.gradient = gradient;
    } else {
      const bool overwrite = local && !routing.layerwise;
      use = term_.persistent->use(lane_.first_batch, lane_.clean.B(), step_.T, gradient, scale, overwrite);
    }
    if (local && routing.layerwise) lane_.rows_of(term_.local_gradient).zero_();
    const double seed = (trains() ? coefficient_ : (fresh && !ascent_ ? 0.0 : 1.0)) / positions_;
    return reconstruct(context_, tensor_sources(step_.decomposition.sites, use), routing, seed);
  }

  at::Tensor constant(double mask) const {
    return reconstruct(context_, constant_sources(mask, /*delta=*/0.0), {}, coefficient_ / positions_);
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
  return std::visit(TermPass(step, lane, term, draw, ascent), *term.config);
}

at::Tensor parameter_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::size_t number,
                          std::size_t lanes) {
  const Decomposition& d = step.decomposition;
  const double seed = step.values.terms[term.number].coefficient / divisor(step, term);
  at::Tensor sum = at::zeros({}, d.numerics.options().dtype(at::kDouble));
  for (std::size_t i = number; i < d.sites.size(); i += lanes) {
    const auto gradient = [&](std::size_t parameter) {
      return seed != 0.0 ? lane.components[parameter].gradient : at::Tensor();
    };
    sum.add_(squared_delta(d, i, seed, gradient(2 * i), gradient(2 * i + 1)));
  }
  return sum;
}

double divisor(const StepContext& step, const StepTerm& term) {
  return static_cast<double>(std::holds_alternative<FaithfulnessTerm>(*term.config)
                                 ? step.decomposition.sites.entries()
                                 : step.B * step.T);
}

std::int64_t ascend_locally(const StepContext& step, StepLane& lane, const StepTerm& term) {
  if (!term.persistent) return 0;
  const std::int64_t ascents = term.persistent->config().warmup_steps;
  if (!term.local_gradient.defined()) return ascents;  // the lanes made them together
  const std::int64_t begin = lane.first_batch * step.T, end = begin + lane.clean.N();
  for (std::int64_t draw = 0; draw < ascents; ++draw) {
    term_pass(step, lane, term, draw, /*ascent=*/true);
    term.persistent->ascend(term.local_gradient, begin, end,
                            step.values.terms[term.number].ascents[static_cast<std::size_t>(draw)]);
  }
  return ascents;
}

}  // namespace vpd
