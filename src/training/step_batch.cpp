// What terms need of the whole batch before any loss: the sums of penalties, and which subcomponents have the
// largest attributions. With it the clean pass and the importances that every pass reads.
//
// Rows are divided and passed as a BatchReader's are (lane_range(), clean_pass(), LaneBatch). The reader
// itself does not serve here: it makes a new Batch, with everything frozen, for each that it reads, while the
// lanes of a step keep their buffers and bound parameters, whose addresses a captured graph has; their
// importances are on a graph; of micro-batches they begin anew for every ascent of shared sources; and they
// add up penalties and attributions while their rows are at hand.

#include <optional>

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "step_impl.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {

/// Clean forward and causal importances of a micro-batch's rows in every lane; with a graph where losses
/// follow. `whole_batch` adds what terms need of all rows before any loss: sums of penalties and
/// attributions.
void TrainingStep::Impl::prepare(const at::Tensor& tokens, const StepContext& step, const Range& micro_batch,
                                 bool graph, bool whole_batch) {
  GradientsReady ready;
  if (graph && !processes_.alone() && lanes_.size() == 1) {
    ready = [this](std::size_t parameter) {
      if (ci_sum_) ci_sum_->final_from(d_.ci_parameters.offset(parameter));
    };
  }
  pool_.run([&](int i) {
    StepLane& lane = lanes_[static_cast<std::size_t>(i)];
    const Range part = lane_range(micro_batch, i, pool_.count());
    lane.first_here = part.begin;
    lane.first_batch = step.stream.rows.begin + part.begin;
    lane.forget_batch();
    std::optional<RepeatedRows> repeated;
    {
      RECORD_USER_SCOPE(step_part::clean_forward);
      if (step.stream.repeats)
        repeated = lane.kept_passes.look_up(d_, tokens.narrow(0, part.begin, part.size()), keep_outputs_,
                                            step.stream.where);
      lane.clean =
          repeated ? repeated->all() : clean_pass(d_, tokens, part, keep_outputs_, step.stream.where);
    }
    {
      RECORD_USER_SCOPE(step_part::importance_forward);
      const at::AutoGradMode record(graph);
      const std::vector<Parameter>& trained =
          micro_batch.begin == 0 && step.stream.number == 0 ? lane.first_ci_parameters : lane.ci_parameters;
      lane.importance = causal_importance(
          d_, repeated ? repeated->distinct : lane.clean, graph ? trained : lane.frozen_ci_parameters,
          graph ? lane.components : lane.frozen_components, /*want_lower=*/false, ready);
      if (repeated) lane.importance.z = repeated->spread(lane.importance.z);
    }
    const at::NoGradGuard no_grad;
    if (graph) lane.importance_gradient = at::zeros(lane.importance.z.sizes(), d_.numerics.options());
    if (graph && lane.largest.defined())
      at::maximum_out(lane.largest, lane.largest, lane.importance.z.detach().amax(0).to(d_.numerics.wide));
    if (!whole_batch) return;
    {
      RECORD_USER_SCOPE(step_part::penalty_sums);
      const std::vector<MinimalitySum>& minimality = step.values.minimality[step.stream.number];
      for (std::size_t k = 0; k < minimality.size(); ++k)
        lane.sums[k].add_(penalty_sums(lane.importance.z.detach(), minimality[k].penalty));
    }
    for (const StepTerm& term : terms_) {
      if (!term.kept.defined() || !term.of(step.stream)) continue;
      RECORD_USER_SCOPE(step_part::attributions(term.plan.label));
      attribute_squared_norm(d_, lane.clean, lane.frozen_components,
                             term.kept.narrow(0, lane.first_batch * step.T, lane.clean.N()));
    }
  });
}

WholeBatch TrainingStep::Impl::whole_batch(const at::Tensor& tokens, StepContext& step) {
  const StepStream& stream = step.stream;
  const std::vector<MinimalitySum>& minimality = step.values.minimality[stream.number];
  for (StepLane& lane : lanes_) {
    lane.sums.clear();
    for (std::size_t k = 0; k < minimality.size(); ++k)
      lane.sums.push_back(at::zeros({d_.sites.total_C()}, d_.numerics.options().dtype(at::kDouble)));
  }
  for (const StepTerm& term : terms_) {
    if (term.kept.defined() && term.of(stream)) step.kept = term.kept.narrow(0, 0, step.B * step.T);
  }
  if (step.kept.defined() && !processes_.alone()) step.kept.zero_();
  if (stream.at_once() || !minimality.empty() || step.kept.defined()) {
    for_each_micro_batch(stream, [&](const Range& micro_batch) {
      prepare(tokens, step, micro_batch, /*graph=*/stream.at_once(), /*whole_batch=*/true);
    });
  }
  if (step.kept.defined()) {
    processes_.sum(step.kept);  // each has filled its own rows
    keep_largest(step.kept, kept_count(largest_masks(objective_)->kept, step.B * step.T, d_.sites));
  }
  WholeBatch whole;
  for (std::size_t k = 0; k < minimality.size(); ++k) {
    const at::Tensor total = lanes_.front().sums[k];
    for (std::size_t i = 1; i < lanes_.size(); ++i) total.add_(lanes_[i].sums[k]);
    whole.under_way.push_back(processes_.begin_sum(total));
  }
  if (!lanes_meet_) take_sums(whole, step);
  return whole;
}

/// What the sums of penalties, of all processes, say of their gradients.
void TrainingStep::Impl::take_sums(WholeBatch& whole, const StepContext& step) {
  const std::int64_t N = step.B * step.T;
  const std::vector<MinimalitySum>& minimality = step.values.minimality[step.stream.number];
  for (std::size_t k = 0; k < minimality.size(); ++k) {
    whole.under_way[k].wait();
    at::Tensor total = lanes_.front().sums[k];
    if (minimality[k].has_importance) whole.importance_sums = total;
    if (minimality[k].has_frequency) {
      whole.frequency_sums = total;
      for (StepTerm& term : terms_) {
        if (term.average && term.of(step.stream)) whole.frequency_sums = term.average->estimate(total, N);
      }
      total = whole.frequency_sums;
    }
    whole.penalties.push_back(minimality_gradient(minimality[k], total, N));
  }
}

}  // namespace vpd
