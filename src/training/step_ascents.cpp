// Ascents of adversarial sources that lanes and processes share: all of them (and micro-batches) finish each
// before the next begins.

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "step_impl.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {

void TrainingStep::Impl::ascend_shared(const at::Tensor& tokens, const StepContext& step) {
  for (StepTerm& term : terms_) {
    const AdversaryConfig* adversary = term.plan.adversary();
    if (!adversary || term.local() || !term.of(step.stream) || step.values.terms[term.number].asleep)
      continue;
    const auto* fresh = std::get_if<FreshAdversaryConfig>(adversary);
    if (fresh) {
      term.fresh = start_fresh(*fresh, d_.sites, step.B, step.T,
                               step.values.key(RandomPurpose::fresh_sources, term.number), d_.numerics);
    }
    RECORD_USER_SCOPE(step_part::ascents(term.plan.label));
    const auto zero_gradients = [&] {
      for (StepLane& lane : lanes_) {
        at::Tensor& gradient = lane.source_gradients[term.number];
        // Rows of another length have other fresh sources.
        if (gradient.defined() && (!fresh || gradient.sizes() == term.fresh.values.sizes()))
          gradient.zero_();
        else
          gradient = fresh ? at::zeros_like(term.fresh.values) : term.persistent->make_gradient();
      }
    };
    const std::int64_t ascents = fresh ? fresh->steps : term.persistent->config().warmup_steps;
    for (std::int64_t a = 0; a < ascents; ++a) {
      zero_gradients();
      for_each_micro_batch(step.stream, [&](const Range& micro_batch) {
        if (!step.stream.at_once())
          prepare(tokens, step, micro_batch, /*graph=*/false, /*whole_batch=*/false);
        pool_.run([&](int i) {
          reconstruction_pass(step, lanes_[static_cast<std::size_t>(i)], term, Aim::ascend, a);
        });
      });
      begin_source_sum(term);
      ascend_together(term, step.values, a);
    }
    zero_gradients();
  }
}

/// Adds up the lanes' gradients and begins to add up those of processes.
void TrainingStep::Impl::begin_source_sum(StepTerm& term) {
  const at::Tensor gradient = lanes_.front().source_gradients[term.number];
  for (std::size_t i = 1; i < lanes_.size(); ++i) gradient.add_(lanes_[i].source_gradients[term.number]);
  const auto* fresh = std::get_if<FreshAdversaryConfig>(term.plan.adversary());
  // What belongs to one position of the batch concerns no other process.
  if (!fresh || fresh->scope != FreshScope::per_datapoint) term.sum = processes_.begin_sum(gradient);
}

/// One ascent along the sum of the lanes' and processes' gradients.
void TrainingStep::Impl::ascend_together(StepTerm& term, const StepValues& values, std::int64_t ascent) {
  term.sum.wait();
  const at::Tensor gradient = lanes_.front().source_gradients[term.number];
  if (term.persistent) {
    term.persistent->ascend(gradient, 0, term.persistent->layout().rows(),
                            values.terms[term.number].ascents[static_cast<std::size_t>(ascent)]);
  } else {
    term.fresh.gradient = gradient;
    step_fresh(term.fresh, std::get<FreshAdversaryConfig>(*term.plan.adversary()).step_size);
  }
}

/// The last ascent of every persistent adversary, along the gradient that the loss itself left.
void TrainingStep::Impl::ascend_after_update(const StepValues& values) {
  RECORD_USER_SCOPE(step_part::last_ascents);
  for (StepTerm& term : terms_) {
    if (!term.persistent || values.terms[term.number].asleep) continue;
    if (term.climbs) continue;  // it did, in the pass that the loss came from
    if (term.local()) {
      pool_.run([&](int i) {
        const Range rows = lane_range(term.persistent->layout().rows(), i, pool_.count());
        term.persistent->ascend(term.local_gradient, rows.begin, rows.end,
                                values.terms[term.number].ascents.back());
      });
    } else {
      ascend_together(term, values, term.persistent->config().warmup_steps);
    }
    term.persistent->end_step();
  }
}

/// The saturated part of an adversary's sources, of all processes, which have equally many.
at::Tensor TrainingStep::Impl::saturated(const PersistentAdversary& adversary) const {
  const at::Tensor part = adversary.saturated();
  if (!adversary.local()) return part;
  processes_.sum(part);
  return part / static_cast<double>(processes_.count());
}

}  // namespace vpd
