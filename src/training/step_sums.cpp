// What processes add up after the losses of the whole batch.
//
// The gradient of U and V is final before the backward pass of a causal-importance function that does not
// read them begins, so it travels while that goes on. The function's own gradient, four times as large in the
// published run, becomes final block by block from the last to the first, and travels in such parts where a
// process is one lane; several lanes make theirs together first, at the end. Gradients of shared sources are
// not needed before the update is made, and travel until then.

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "step_impl.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

/// A sum of fewer elements costs a GPU its launch rather than its bytes; 16 MiB of float32.
constexpr std::int64_t least_part_on_gpu = std::int64_t{1} << 22;

}  // namespace

/// Of the lanes that have one.
std::vector<at::Tensor> TrainingStep::Impl::lane_gradients(at::Tensor StepLane::*gradient) const {
  std::vector<at::Tensor> gradients;
  for (const StepLane& lane : lanes_) {
    if ((lane.*gradient).defined()) gradients.push_back(lane.*gradient);
  }
  return gradients;
}

/// Gradients of the causal-importance function that the lanes' backward passes put off.
void TrainingStep::Impl::make_deferred_gradients() {
  std::vector<const DeferredGradients*> lists;
  for (const StepLane& lane : lanes_) {
    if (!lane.deferred) return;
    lists.push_back(lane.deferred.get());
  }
  RECORD_USER_SCOPE(step_part::importance_backward);
  pool_.run([&](int i) { DeferredGradients::make(lists, static_cast<std::size_t>(i)); });
  for (const StepLane& lane : lanes_) lane.deferred->clear();
}

/// Work that belongs to no row of the batch is divided among the lanes of all processes.
std::size_t TrainingStep::Impl::shares() const {
  return lanes_.size() * static_cast<std::size_t>(processes_.count());
}
std::size_t TrainingStep::Impl::share_of(std::size_t lane) const {
  return lanes_.size() * static_cast<std::size_t>(processes_.rank()) + lane;
}

void TrainingStep::Impl::begin_components_sum() {
  sum_over_lanes(lane_gradients(&StepLane::components_gradient), pool_);
  components_sum_ = processes_.begin_sum(lanes_.front().components_gradient);
}

void TrainingStep::Impl::begin_gradient_sums() {
  if (!importance_reaches_components(d_)) begin_components_sum();
  const bool gpu = d_.numerics.device.is_cuda();
  if (lanes_.size() == 1)
    ci_sum_.emplace(processes_, lanes_.front().ci_gradient, gpu ? least_part_on_gpu : 0);
}

void TrainingStep::Impl::finish_gradient_sums() {
  if (importance_reaches_components(d_)) begin_components_sum();
  if (!ci_sum_) {
    sum_over_lanes(lane_gradients(&StepLane::ci_gradient), pool_);
    ci_sum_.emplace(processes_, lanes_.front().ci_gradient, 0);
  }
  ci_sum_->finish();
  ci_sum_.reset();
  components_sum_.wait();
}

}  // namespace vpd
