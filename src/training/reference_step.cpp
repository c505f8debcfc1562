#include "reference_step.hpp"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "vpd/passes/attribution.hpp"

namespace vpd {

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
    begin_adversary(k, T);
  }
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
