// What a term of the objective is: the masked passes of a reconstruction, and penalties.

#include <ATen/ATen.h>

#include "reference_step.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {
namespace {

/// 1 where z is above 1, with a slope of 0.01 from there on.
at::Tensor upper_leaky(const at::Tensor& z) {
  return at::where(z.gt(1.0), 1.0 + 0.01 * (z - 1.0), z.clamp(0.0, 1.0));
}

at::Tensor penalty(const MinimalityPlan& plan, const at::Tensor& g, std::int64_t step, std::int64_t steps) {
  if (const auto* smooth = std::get_if<SmoothL0PenaltyConfig>(&*plan.penalty)) {
    const double gamma = value_at(smooth->gamma, step, steps);
    return g.square() / (g.square() + gamma * gamma);
  }
  return (g + *plan.eps).pow(value_at(*plan.p, step, steps));
}

}  // namespace

RandomKey ReferenceStep::key(RandomPurpose purpose, std::int64_t step, std::size_t term,
                             std::int64_t which) const {
  return make_key(config_.seed, purpose, static_cast<std::uint64_t>(step), term,
                  static_cast<std::uint64_t>(which));
}

/// A mean over positions, and over the passes of layerwise routing.
at::Tensor ReferenceStep::masked_loss(const Batch& batch, std::size_t term, const ReconstructionPlan& plan,
                                      const std::function<WrittenOutMask(std::size_t)>& mask_of,
                                      std::int64_t draw) const {
  const PassContext context{.decomposition = &d_,
                            .clean = &batch.clean,
                            .importance = {},
                            .importance_gradient = {},
                            .components = nullptr};
  const RoutingDraw routing =
      draw_routing(plan.routing, key(RandomPurpose::routing, batch.step, term, draw), context);
  const auto count = static_cast<int>(routing.passes(d_.sites));
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (int pass = 0; pass < count; ++pass) {
    const WrittenOut::Pass found = batch.passes.run(mask_of, routing.masks, routing.layerwise ? pass : -1);
    const bool kl = plan.comparison == Comparison::output && d_.target->divergence() == Divergence::kl;
    sum = sum + (plan.comparison == Comparison::hidden_acts ? batch.passes.squared_error_of_sites(found)
                 : kl                                       ? batch.passes.kl(found)
                                                            : batch.passes.squared_error(found));
  }
  return sum / count;
}

/// `sources`: of an adversary, those of each site.
at::Tensor ReferenceStep::loss_of(const Batch& batch, std::size_t term, const ReconstructionPlan& plan,
                                  const std::vector<at::Tensor>& sources, std::int64_t draw) const {
  const std::int64_t B = batch.clean.B(), T = batch.clean.T(), N = batch.clean.N();
  const at::Tensor none = at::full({N, 1}, plan.delta.value_or(0.0), at::kDouble);
  if (const auto* masks = std::get_if<ConstantMasks>(&plan.masks)) {
    const auto constant = [&](std::size_t i) {
      return WrittenOutMask{batch.passes.mask(i, at::full({}, masks->source, at::kDouble)), none};
    };
    return masked_loss(batch, term, plan, constant, draw);
  }
  if (std::holds_alternative<LargestMasks>(plan.masks)) {
    const auto kept = [&](std::size_t i) { return WrittenOutMask{d_.sites.columns(batch.kept, i), none}; };
    return masked_loss(batch, term, plan, kept, draw);
  }
  if (const auto* masks = std::get_if<RandomMasks>(&plan.masks)) {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (std::int64_t s = 0; s < masks->samples; ++s) {
      // The gate of ones with importances of 0 gives r - δ, and δ beside it.
      const auto random = [&](std::size_t i) {
        const GateSources drawn{
            DrawnSources{masks->distribution, key(RandomPurpose::mask_sources, batch.step, term, s),
                         static_cast<std::uint32_t>(i)},
            d_.delta_component ? plan.delta : std::optional(0.0)};
        const at::Tensor ones = at::ones({N, d_.sites[i].C}, at::kDouble);
        const GateOutput gate = gate_forward(ones, at::zeros_like(ones), drawn, {});
        const at::Tensor delta = gate.scale.defined() ? gate.scale.unsqueeze(1) : none;
        return WrittenOutMask{batch.passes.mask(i, gate.gated + delta), delta};
      };
      sum = sum + masked_loss(batch, term, plan, random, s);
    }
    return sum / static_cast<double>(masks->samples);
  }
  const auto* persistent = persistent_of(objective_[term]);
  const bool sigmoid = persistent && persistent->parametrization == SourceParametrization::sigmoid;
  const auto chosen = [&](std::size_t i) {
    const at::Tensor& x = sources[i];
    const at::Tensor b = at::arange(B, at::kLong).remainder(x.size(0)),
                     t = at::arange(T, at::kLong).remainder(x.size(1));
    at::Tensor r = x.index_select(0, b).index_select(1, t).reshape({N, x.size(2)});
    if (sigmoid) r = r.sigmoid();
    const std::int64_t C = d_.sites[i].C;
    return WrittenOutMask{batch.passes.mask(i, r.narrow(1, 0, C)),
                          d_.delta_component && !plan.delta ? r.narrow(1, C, 1) : none};
  };
  return masked_loss(batch, term, plan, chosen, draw);
}

at::Tensor ReferenceStep::parameter_term(const Batch& batch, const TermPlan& term) const {
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    const at::Tensor &V = batch.passes.V[i], &U = batch.passes.U[i];
    if (const auto* plan = std::get_if<SchattenPlan>(&term.what)) {
      at::Tensor value = (V.square().sum(0) * U.square().sum(1) + plan->eps).pow(0.5 * plan->p);
      if (plan->weighted_by_kept) value = value * d_.sites.columns(batch.kept, i).mean(0);
      sum = sum + value.sum();
    } else {
      sum = sum + (d_.matrix(i).master - at::matmul(V, U).t()).square().sum() /
                      static_cast<double>(d_.sites.entries());
    }
  }
  return sum;
}

at::Tensor ReferenceStep::minimality_term(const Batch& batch, std::size_t term, const MinimalityPlan& plan) {
  const double N = batch.positions();
  const at::Tensor f = penalty(plan, upper_leaky(batch.z), batch.step, config_.training.steps).sum(0) / N;
  if (!plan.frequency) return f.sum();
  at::Tensor mean = f;
  if (plan.moving_average) {
    const double decay = plan.moving_average->decay;
    Moments& average = averages_[term];
    average.m = decay * average.m + (1.0 - decay) * f.detach();
    average.v = decay * average.v + (1.0 - decay);
    mean = average.m / average.v + (f - f.detach());  // its history is constant, the batch has weight 1
  }
  return (mean * (1.0 + mean * plan.reference_count.value_or(N)).log2()).sum();
}

/// The loss of one term; `last_ascent` gets the gradient of its sources, where it has persistent ones.
at::Tensor ReferenceStep::term_loss(const Batch& batch, std::size_t k, std::vector<at::Tensor>& last_ascent) {
  const TermPlan& term = objective_[k];
  if (const MinimalityPlan* minimality = term.minimality()) return minimality_term(batch, k, *minimality);
  const ReconstructionPlan* plan = term.reconstruction();
  if (!plan) return parameter_term(batch, term);
  std::vector<at::Tensor> sources;
  std::int64_t draw = 0;
  if (persistent_of(term))
    sources = climbed_sources(batch, k, *plan, draw, last_ascent);
  else if (term.adversary())
    sources = fresh_sources(batch, k, *plan, std::get<FreshAdversaryConfig>(*term.adversary()));
  return loss_of(batch, k, *plan, sources, draw);
}

}  // namespace vpd
