// The optimizer's updates: of a step, and of the faithfulness warm-up.

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "step_impl.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {

/// The optimizer's update, where all of the step is finite.
void TrainingStep::Impl::make_update(const StepValues& values, StepResult& result) {
  RECORD_USER_SCOPE(step_part::optimizer);
  std::vector<at::Tensor> components = lane_gradients(&StepLane::components_gradient),
                          ci = lane_gradients(&StepLane::ci_gradient);
  if (!processes_.alone()) {
    finish_gradient_sums();
    components.resize(1), ci.resize(1);
  }
  const ClippedNorm components_norm =
      reduce_gradients(components, config_.training.gradient_clip.components, pool_);
  const ClippedNorm ci_norm = reduce_gradients(ci, config_.training.gradient_clip.causal_importance, pool_);
  result.components_norm = components_norm.norm;
  result.causal_importance_norm = ci_norm.norm;
  const at::Tensor finite = at::isfinite(result.total + components_norm.norm + ci_norm.norm);
  if (d_.numerics.device.is_cpu()) check(result, values.step);
  // Once a step was not finite no later one changes anything either, until somebody looks.
  at::maximum_out(broken_, broken_, finite.logical_not().to(at::kFloat));
  result.broken = broken_;
  if (config_.training.unused_decay > 0.0) decay_unused(values);
  const auto& adamw = std::get<AdamWConfig>(config_.training.optimizer);
  update(d_.components, components.front(), components_state_, adamw, values.components,
         components_norm.divisor, broken_, pool_);
  update(d_.ci_parameters, ci.front(), ci_state_, adamw, values.causal_importance, ci_norm.divisor, broken_,
         pool_);

  for (StepTerm& term : terms_) {
    if (term.average) term.average->keep(broken_);
  }
}

/// Takes rate · decay · (1 - max g) of every subcomponent off its U and V, as a decoupled decay does, where
/// the step is finite.
void TrainingStep::Impl::decay_unused(const StepValues& values) {
  at::Tensor largest = lanes_.front().largest;
  for (std::size_t i = 1; i < lanes_.size(); ++i) largest = at::maximum(largest, lanes_[i].largest);
  if (!processes_.alone()) {
    const at::Tensor all = processes_.gather_rows(largest.unsqueeze(0));
    if (all.defined()) largest.copy_(all.amax(0));
    processes_.broadcast(largest);
  }
  const at::Tensor unused = (1.0 - largest.clamp(0.0, 1.0)) * config_.training.unused_decay * broken_.eq(0.0);
  const AdamWNumbers& numbers = values.components;
  const at::Tensor kept =
      1.0 - (numbers.late_rate.defined() ? unused * numbers.late_rate : unused * numbers.rate);
  pool_.run([&](int n) {
    for (auto i = static_cast<std::size_t>(n); i < d_.sites.size(); i += lanes_.size()) {
      const at::Tensor of_site = d_.sites.columns(kept, i);
      d_.components.V(i).mul_(of_site);
      d_.components.U(i).mul_(of_site.unsqueeze(1));
    }
  });
}

at::Tensor TrainingStep::Impl::warm_up() {
  if (!warm_up_state_.m.defined()) warm_up_state_ = AdamWState::for_parameters(d_.components);
  const double entries = static_cast<double>(d_.sites.entries());
  std::vector<at::Tensor> values(lanes_.size()), gradients = lane_gradients(&StepLane::components_gradient);
  pool_.run([&](int n) {
    StepLane& lane = lanes_[static_cast<std::size_t>(n)];
    lane.components_gradient.zero_();
    at::Tensor sum = at::zeros({}, d_.numerics.options().dtype(at::kDouble));
    for (std::size_t i = share_of(static_cast<std::size_t>(n)); i < d_.sites.size(); i += shares()) {
      sum.add_(
          squared_delta(d_, i, 1.0 / entries, lane.components.V(i).gradient, lane.components.U(i).gradient));
    }
    values[static_cast<std::size_t>(n)] = sum;
  });
  for (std::size_t i = 1; i < values.size(); ++i) values.front().add_(values[i]);
  if (!processes_.alone()) {
    sum_over_lanes(gradients, pool_);
    gradients.resize(1);
    Processes::Sum gradient = processes_.begin_sum(gradients.front());
    processes_.sum(values.front());
    gradient.wait();
  }
  const ClippedNorm norm = reduce_gradients(gradients, std::nullopt, pool_);
  const FaithfulnessWarmupConfig& config = config_.training.faithfulness_warmup;
  update(d_.components, gradients.front(), warm_up_state_, {.weight_decay = config.weight_decay},
         {config.learning_rate, ++warm_up_state_.count}, norm.divisor, {}, pool_);
  return values.front().div_(entries);
}

}  // namespace vpd
