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
    if (!term.of(step.stream) || step.values.terms[term.number].asleep) continue;
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
void TrainingStep::Impl::lane_importances(StepLane& lane, const StepStream& stream,
                                          const std::vector<PenaltyGradient>& penalties) {
  RECORD_USER_SCOPE(step_part::importance_backward);
  const at::Tensor dz =
      squash_backward(lane.importance.z.detach(), lane.importance_gradient, penalties.data(),
                      static_cast<int>(penalties.size()), lane.active[stream.number]);
  torch::autograd::backward({lane.importance.z}, {dz});
  lane.importance.z = lane.importance.z.detach();
}

void TrainingStep::Impl::pass_over(const at::Tensor& tokens, const StepContext& step, WholeBatch& whole) {
  const StepStream& stream = step.stream;
  for_each_micro_batch(stream, [&](const Range& micro_batch) {
    const bool first = micro_batch.begin == 0, first_of_all = first && stream.number == 0,
               last_of_all = micro_batch.end == stream.rows.size() && stream.number + 1 == streams_.size();
    if (!stream.at_once()) prepare(tokens, step, micro_batch, /*graph=*/true, /*whole_batch=*/false);
    pool_.run([&](int i) {
      StepLane& lane = lanes_[static_cast<std::size_t>(i)];
      if (first_of_all) {
        lane.components_gradient.zero_();
        if (!d_.ci->reads_parameters_once()) lane.ci_gradient.zero_();
      }
      lane_losses(lane, step, first);
      if (!lanes_meet_) lane_importances(lane, stream, whole.penalties);
    });
    if (lanes_meet_) {
      if (first) take_sums(whole, step);
      if (last_of_all) begin_gradient_sums();
      pool_.run(
          [&](int i) { lane_importances(lanes_[static_cast<std::size_t>(i)], stream, whole.penalties); });
    }
    make_deferred_gradients();
  });
}

/// Values of the stream's minimality terms, whose sums are of the whole batch.
void TrainingStep::Impl::take_minimality(const StepContext& step, const WholeBatch& whole,
                                         std::vector<at::Tensor>& losses) {
  const std::int64_t N = step.B * step.T;
  for (const StepTerm& term : terms_) {
    const MinimalityPlan* plan = term.plan.minimality();
    if (!plan || !term.of(step.stream)) continue;
    losses[term.number] = plan->frequency
                              ? frequency_minimality(whole.frequency_sums, N, plan->reference_count)
                              : importance_minimality(whole.importance_sums, N);
  }
}

/// The losses of all lanes and processes. `minimality`: those of terms whose sums are of the whole batch;
/// `lengths`: of each stream's rows.
StepResult TrainingStep::Impl::add_up(const StepValues& values, const std::vector<std::int64_t>& lengths,
                                      std::vector<at::Tensor> minimality, bool want_l0) {
  const at::TensorOptions options = d_.numerics.options().dtype(at::kDouble);
  std::vector<at::Tensor> losses = std::move(lanes_.front().losses);
  for (std::size_t k = 0; k < losses.size(); ++k) {
    for (std::size_t i = 1; i < lanes_.size(); ++i) losses[k].add_(lanes_[i].losses[k]);
  }
  for (std::size_t s = 0; s < streams_.size(); ++s) {
    at::Tensor active = at::zeros({}, options);
    for (const StepLane& lane : lanes_) {
      if (want_l0) active.add_(lane.active[s]);
    }
    losses.push_back(active);
  }
  if (!processes_.alone()) {  // in one sum
    const at::Tensor together = at::stack(losses);
    processes_.sum(together);
    losses = together.unbind();
  }
  for (StepTerm& term : terms_) {
    if (term.persistent && !term.local() && !values.terms[term.number].asleep) begin_source_sum(term);
  }

  StepResult result;
  result.total = at::zeros({}, options);
  if (want_l0) {
    const auto l0 = [&](const StepStream& stream) {
      return losses[terms_.size() + stream.number] / static_cast<double>(stream.B * lengths[stream.number]);
    };
    result.l0 = l0(streams_.front());
    if (streams_.size() > 1) result.background_l0 = l0(streams_.back());
  }
  for (const StepTerm& term : terms_) {
    const StepStream& stream = streams_[static_cast<std::size_t>(term.plan.rows)];
    at::Tensor loss = minimality[term.number];
    if (!loss.defined() && !values.terms[term.number].asleep)
      loss = losses[term.number].div_(divisor(d_, stream.compared(lengths[stream.number]), term));
    result.labels.push_back(term.plan.label);
    result.losses.push_back(loss);
    if (loss.defined()) result.total.add_(loss, values.terms[term.number].coefficient);
  }
  if (d_.numerics.device.is_cpu()) check(result, values.step);
  return result;
}

}  // namespace vpd
