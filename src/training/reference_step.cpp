#include "reference_step.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "vpd/adversary/fresh.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/base/error.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd {
namespace {

using torch::autograd::variable_list;

const PersistentAdversaryConfig* persistent_of(const TermPlan& term) {
  return term.adversary() ? std::get_if<PersistentAdversaryConfig>(term.adversary()) : nullptr;
}

std::vector<at::Tensor> leaves_of(const std::vector<at::Tensor>& values) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& value : values) leaves.push_back(value.detach().clone().requires_grad_(true));
  return leaves;
}

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

struct ReferenceStep::Batch {
  TermRows rows;
  std::int64_t step;
  CleanPass clean;
  WrittenOut passes;  ///< with V, U and g, lower-leaky, as leaves
  at::Tensor made_z;  ///< as the causal-importance function gave it, on its graph
  at::Tensor z;       ///< a leaf of its own, which penalties are taken of
  at::Tensor kept;    ///< [N, Σ C], of LargestMasks

  double positions() const { return static_cast<double>(clean.N()); }
};

ReferenceStep::ReferenceStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T)
    : d_(decomposition), config_(config), objective_(plan_of(config.objective)) {
  const auto zeros = [](const ParameterSet& parameters) {
    return Moments{at::zeros_like(parameters.flat()), at::zeros_like(parameters.flat())};
  };
  components_ = zeros(d_.components), ci_ = zeros(d_.ci_parameters);
  adversaries_.resize(objective_.size()), averages_.resize(objective_.size());
  for (std::size_t k = 0; k < objective_.size(); ++k) {
    if (objective_[k].minimality())
      averages_[k] = {at::zeros({d_.sites.total_C()}, at::kDouble), at::zeros({}, at::kDouble)};
    const PersistentAdversaryConfig* adversary = persistent_of(objective_[k]);
    const auto* masks = objective_[k].masks<AdversarialMasks>();
    const bool known = !adversary || (adversary->scope != PersistentScope::pooled &&
                                      adversary->storage == SourceStorage::float32);
    VPD_CHECK(known && !(masks && masks->merged), UsageError,
              "reference step: expected no pools, compact sources or merged masks, found {}",
              objective_[k].label);
    if (!adversary) continue;
    const bool background = objective_[k].rows == TermRows::background;
    PersistentAdversary initial(
        *adversary, d_.sites, background ? config.background_rows() : config.training.batch_size,
        background ? row_length(config.data.background.value()) : T, d_.numerics, config.seed, k);
    for (const auto& [name, value] : initial.state(d_.sites)) {
      if (!name.starts_with("source/")) continue;
      adversaries_[k].values.push_back(value.clone());
      adversaries_[k].m.push_back(at::zeros_like(value)), adversaries_[k].v.push_back(at::zeros_like(value));
    }
  }
}

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

std::vector<at::Tensor> ReferenceStep::fresh_sources(const Batch& batch, std::size_t term,
                                                     const ReconstructionPlan& plan,
                                                     const FreshAdversaryConfig& adversary) const {
  const FreshSources start = start_fresh(adversary, d_.sites, batch.clean.B(), batch.clean.T(),
                                         key(RandomPurpose::fresh_sources, batch.step, term, 0), d_.numerics);
  std::vector<at::Tensor> sources;
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    sources.push_back(site_columns(start.values, start.layout, i)
                          .reshape({start.layout.batch_rows, start.layout.time_rows, d_.sites[i].C + 1}));
  }
  for (std::int64_t step = 0; step < adversary.steps; ++step) {
    const std::vector<at::Tensor> leaves = leaves_of(sources);
    const variable_list gradients =
        torch::autograd::grad({loss_of(batch, term, plan, leaves, 0)}, leaves, {}, {}, false, true);
    for (std::size_t i = 0; i < sources.size(); ++i)
      if (gradients[i].defined())
        sources[i] = (sources[i] + adversary.step_size * gradients[i].sign()).clamp(0.0, 1.0);
  }
  return sources;
}

void ReferenceStep::ascend(std::size_t term, const std::vector<at::Tensor>& gradients, std::int64_t step,
                           std::int64_t T) {
  const at::NoGradGuard no_grad;
  const PersistentAdversaryConfig& config = *persistent_of(objective_[term]);
  Sources& sources = adversaries_[term];
  const double rate = value_at(config.learning_rate, step, config_.training.steps);
  const auto count = static_cast<double>(++sources.ascents);
  for (std::size_t i = 0; i < sources.values.size(); ++i) {
    // Sources of positions behind shorter rows stay.
    const auto met = [&](const at::Tensor& y) { return y.narrow(1, 0, std::min(y.size(1), T)); };
    const at::Tensor x = met(sources.values[i]), m = met(sources.m[i]), v = met(sources.v[i]);
    const at::Tensor g = gradients[i].defined() ? met(gradients[i]) : at::zeros_like(x);
    if (const auto* adam = std::get_if<AdamAscentConfig>(&config.optimizer)) {
      m.copy_(adam->beta1 * m + (1.0 - adam->beta1) * g);
      v.copy_(adam->beta2 * v + (1.0 - adam->beta2) * g.square());
      const at::Tensor m_hat = m / (1.0 - std::pow(adam->beta1, count)),
                       v_hat = v / (1.0 - std::pow(adam->beta2, count));
      x.add_(rate * m_hat / (v_hat.sqrt() + adam->eps));
    } else {
      x.add_(rate * g.sign());
    }
    if (config.parametrization == SourceParametrization::clamped) x.clamp_(0.0, 1.0);
  }
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

void ReferenceStep::update(ParameterSet& parameters, const at::Tensor& gradient, Moments& moments,
                           std::optional<double> limit, std::int64_t step) {
  const at::NoGradGuard no_grad;
  const auto& config = std::get<AdamWConfig>(config_.training.optimizer);
  const double rate = value_at(config_.training.learning_rate, step, config_.training.steps),
               norm = gradient.norm().item<double>();
  const at::Tensor g = gradient / (limit ? std::max(1.0, (norm + 1e-6) / *limit) : 1.0);
  moments.m = config.beta1 * moments.m + (1.0 - config.beta1) * g;
  moments.v = config.beta2 * moments.v + (1.0 - config.beta2) * g.square();
  const auto count = static_cast<double>(updates_);
  const at::Tensor m_hat = moments.m / (1.0 - std::pow(config.beta1, count)),
                   v_hat = moments.v / (1.0 - std::pow(config.beta2, count));
  const at::Tensor x = parameters.flat();
  x.sub_(rate * config.weight_decay * x + rate * m_hat / (v_hat.sqrt() + config.eps));
  parameters.refresh();
}

ReferenceStep::Batch ReferenceStep::batch_of(TermRows rows, const at::Tensor& input, std::int64_t number,
                                             const std::vector<Parameter>& ci_parameters,
                                             const BoundSubcomponents& components) const {
  const DataSource& source = rows == TermRows::target ? config_.data.train : config_.data.background.value();
  const CleanPass clean = clean_pass(d_, input, compares_sites(objective_), compared_positions(source));
  const at::Tensor z = causal_importance(d_, clean, ci_parameters, components, /*want_lower=*/false).z;
  Batch batch{rows,  number,
              clean, WrittenOut(d_, clean, z.detach().clamp(0.0, 1.0)),
              z,     z.detach().clone().requires_grad_(true),
              {}};
  const LargestMasks* largest = largest_masks(objective_);
  if (largest && rows == TermRows::target) {
    batch.kept = at::zeros({clean.N(), d_.sites.total_C()}, at::kDouble);
    attribute_squared_norm(d_, clean, d_.components.bind({}), batch.kept);
    keep_largest(batch.kept, kept_count(largest->kept, clean.N(), d_.sites));
  }
  return batch;
}

/// The loss of one term; `last_ascent` gets the gradient of its sources, where it has persistent ones.
at::Tensor ReferenceStep::term_loss(const Batch& batch, std::size_t k, std::vector<at::Tensor>& last_ascent) {
  const TermPlan& term = objective_[k];
  if (const MinimalityPlan* minimality = term.minimality()) return minimality_term(batch, k, *minimality);
  const ReconstructionPlan* plan = term.reconstruction();
  if (!plan) return parameter_term(batch, term);
  const PersistentAdversaryConfig* persistent = persistent_of(term);
  const auto gradients_of = [&](const at::Tensor& of, const std::vector<at::Tensor>& leaves) {
    return torch::autograd::grad({of}, leaves, {}, /*retain_graph=*/false, false, /*allow_unused=*/true);
  };
  std::vector<at::Tensor> sources;
  std::int64_t draw = 0;
  if (persistent) {
    for (; draw < persistent->warmup_steps; ++draw) {
      const std::vector<at::Tensor> leaves = leaves_of(adversaries_[k].values);
      ascend(k, gradients_of(loss_of(batch, k, *plan, leaves, draw), leaves), batch.step, batch.clean.T());
    }
    sources = leaves_of(adversaries_[k].values);
    last_ascent = gradients_of(loss_of(batch, k, *plan, sources, draw), sources);
  } else if (term.adversary()) {
    sources = fresh_sources(batch, k, *plan, std::get<FreshAdversaryConfig>(*term.adversary()));
  }
  return loss_of(batch, k, *plan, sources, draw);
}

/// Adds the gradients of a batch's leaves to those of parameters.
void ReferenceStep::go_back(const Batch& batch, const at::Tensor& components_gradient) const {
  // Through the lower-leaky squashing, below 0 of which only what would raise g comes through, a hundredth.
  const auto gradient = [](const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  };
  const at::Tensor dg = gradient(batch.passes.importance), at_z = batch.made_z.detach();
  const at::Tensor inside = at_z.gt(0.0).logical_and(at_z.le(1.0));
  const at::Tensor dz =
      at::where(inside, dg, at::where(at_z.le(0.0), 0.01 * dg.clamp_max(0.0), at::zeros_like(dg)));
  torch::autograd::backward({batch.made_z}, {dz + gradient(batch.z)});
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    d_.components.view(components_gradient, 2 * i).add_(gradient(batch.passes.V[i]));
    d_.components.view(components_gradient, 2 * i + 1).add_(gradient(batch.passes.U[i]));
  }
}

/// The decay of subcomponents by how little the step's batches need them.
void ReferenceStep::decay_unused(const std::vector<Batch>& batches, std::int64_t step) {
  const at::NoGradGuard no_grad;
  at::Tensor largest = at::zeros({d_.sites.total_C()}, at::kDouble);
  for (const Batch& batch : batches)
    largest = at::maximum(largest, batch.made_z.detach().clamp(0.0, 1.0).amax(0));
  const double rate = value_at(config_.training.learning_rate, step, config_.training.steps);
  const at::Tensor kept = 1.0 - rate * config_.training.unused_decay * (1.0 - largest);
  for (std::size_t i = 0; i < d_.sites.size(); ++i) {
    d_.components.V(i).mul_(d_.sites.columns(kept, i));
    d_.components.U(i).mul_(d_.sites.columns(kept, i).unsqueeze(1));
  }
}

std::vector<double> ReferenceStep::run(const at::Tensor& input, std::int64_t number,
                                       const at::Tensor& background) {
  const at::Tensor components_gradient = d_.components.make_gradient(),
                   ci_gradient = d_.ci_parameters.make_gradient();
  const BoundSubcomponents components = d_.components.bind(components_gradient);
  const std::vector<Parameter> ci_parameters = d_.ci_parameters.bind(ci_gradient);
  std::vector<Batch> batches;
  batches.push_back(batch_of(TermRows::target, input, number, ci_parameters, components));
  if (background.defined())
    batches.push_back(batch_of(TermRows::background, background, number, ci_parameters, components));

  std::vector<double> losses;
  std::vector<std::vector<at::Tensor>> last_ascents(objective_.size());
  at::Tensor total = at::zeros({}, at::kDouble);
  const auto sleeps = [&](const TermPlan& term) {
    return !term.minimality() && sleeps_at(term.coefficient, number, config_.training.steps);
  };
  for (std::size_t k = 0; k < objective_.size(); ++k) {
    const TermPlan& term = objective_[k];
    losses.push_back(0.0);
    if (sleeps(term)) continue;
    const at::Tensor loss = term_loss(batches[static_cast<std::size_t>(term.rows)], k, last_ascents[k]);
    losses.back() = loss.item<double>();
    total = total + value_at(term.coefficient, number, config_.training.steps) * loss;
  }
  total.backward();
  for (const Batch& batch : batches) go_back(batch, components_gradient);

  ++updates_;
  if (config_.training.unused_decay > 0.0) decay_unused(batches, number);
  const GradientClipConfig& clip = config_.training.gradient_clip;
  update(d_.components, components_gradient, components_, clip.components, number);
  update(d_.ci_parameters, ci_gradient, ci_, clip.causal_importance, number);
  const auto length_of = [&](std::size_t k) {
    return batches[static_cast<std::size_t>(objective_[k].rows)].clean.T();
  };
  for (std::size_t k = 0; k < objective_.size(); ++k)
    if (persistent_of(objective_[k]) && !sleeps(objective_[k]))
      ascend(k, last_ascents[k], number, length_of(k));
  return losses;
}

}  // namespace vpd
