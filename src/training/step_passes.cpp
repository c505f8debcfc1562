// The passes of each micro-batch: losses with their backward passes to U, V and the causal importances, and
// from there to the parameters of the causal-importance function.

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>

#include "step_impl.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {

/// What needs one lane alone: ascents of its own sources, losses, and their backward passes to U, V and the
/// causal importances.
void TrainingStep::Impl::lane_losses(StepLane& lane, const StepContext& step, bool first_micro_batch) {
  for (const StepTerm& term : terms_) {
    at::Tensor& loss = lane.losses[term.number];
    if (term.plan.reconstruction()) {
      const std::int64_t draw = ascend_locally(step, lane, term);
      RECORD_USER_SCOPE(term.plan.label);
      loss.add_(reconstruction_pass(step, lane, term, aim_of_loss(step, term), draw));
    } else if (!term.plan.minimality() && first_micro_batch) {  // minimality's sums run over the whole batch
      RECORD_USER_SCOPE(term.plan.label);
      loss.add_(parameter_pass(step, lane, term, share_of(lane.number), shares()));
    }
  }
}

/// The rest of the backward pass: from the causal importances to the parameters of their function.
void TrainingStep::Impl::lane_importances(StepLane& lane, const std::vector<PenaltyGradient>& penalties) {
  RECORD_USER_SCOPE(step_part::importance_backward);
  const at::Tensor dz = squash_backward(lane.importance.z.detach(), lane.importance_gradient,
                                        penalties.data(), static_cast<int>(penalties.size()), lane.active);
  torch::autograd::backward({lane.importance.z}, {dz});
  lane.importance.z = lane.importance.z.detach();
}

void TrainingStep::Impl::pass_over(const at::Tensor& tokens, const StepContext& step, WholeBatch& whole) {
  for_each_micro_batch([&](const Range& micro_batch) {
    const bool first = micro_batch.begin == 0, last = micro_batch.end == rows_.size();
    if (micro_ < rows_.size()) prepare(tokens, micro_batch, /*graph=*/true, nullptr);
    pool_.run([&](int i) {
      StepLane& lane = lanes_[static_cast<std::size_t>(i)];
      if (first) {
        lane.components_gradient.zero_();
        if (!d_.ci->reads_parameters_once()) lane.ci_gradient.zero_();
      }
      lane_losses(lane, step, first);
      if (!lanes_meet_) lane_importances(lane, whole.penalties);
    });
    if (lanes_meet_) {
      if (first) take_sums(whole, step);
      if (last) begin_gradient_sums();
      pool_.run([&](int i) { lane_importances(lanes_[static_cast<std::size_t>(i)], whole.penalties); });
    }
    make_deferred_gradients();
  });
}

/// The losses of all lanes and processes.
StepResult TrainingStep::Impl::add_up(const StepContext& step, const WholeBatch& whole, bool want_l0) {
  const std::int64_t N = B_ * T_;
  const at::TensorOptions options = d_.numerics.options().dtype(at::kDouble);
  std::vector<at::Tensor> losses = std::move(lanes_.front().losses);
  for (std::size_t k = 0; k < losses.size(); ++k) {
    for (std::size_t i = 1; i < lanes_.size(); ++i) losses[k].add_(lanes_[i].losses[k]);
  }
  at::Tensor active = at::zeros({}, options);
  if (want_l0) {
    for (const StepLane& lane : lanes_) active.add_(lane.active);
  }
  if (!processes_.alone()) {
    losses.push_back(active);  // in one sum
    const at::Tensor together = at::stack(losses);
    processes_.sum(together);
    losses = together.unbind();
    active = losses.back();
  }
  for (StepTerm& term : terms_) {
    if (term.persistent && !term.local()) begin_source_sum(term);
  }

  StepResult result;
  result.total = at::zeros({}, options);
  if (want_l0) result.l0 = active / static_cast<double>(N);
  for (const StepTerm& term : terms_) {
    at::Tensor loss = losses[term.number];
    if (const MinimalityPlan* plan = term.plan.minimality()) {
      loss = plan->frequency ? frequency_minimality(whole.frequency_sums, N, plan->reference_count)
                             : importance_minimality(whole.importance_sums, N);
    } else {
      loss.div_(divisor(step, term));
    }
    result.labels.push_back(term.plan.label);
    result.losses.push_back(loss);
    result.total.add_(loss, step.values.terms[term.number].coefficient);
  }
  if (d_.numerics.device.is_cpu()) check(result, step.values.step);
  return result;
}

}  // namespace vpd
