#include "step_impl.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/passes/attribution.hpp"

namespace vpd {

TrainingStep::Impl::Impl(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective,
                         std::int64_t T, Lanes& lanes, Processes& processes)
    : d_(decomposition),
      config_(config),
      objective_(std::move(objective)),
      pool_(lanes),
      processes_(processes),
      B_(config.training.batch_size),
      T_(T),
      rows_(lane_range(B_, processes.rank(), processes.count())),
      micro_(std::min(config.training.micro_batch_size.value_or(B_), rows_.size())),
      lanes_meet_(!processes.alone()),
      components_state_(AdamWState::for_parameters(decomposition.components)),
      ci_state_(AdamWState::for_parameters(decomposition.ci_parameters)),
      broken_(at::zeros({}, decomposition.numerics.options().dtype(at::kFloat))),
      late_(decomposition.numerics, config.seed, config.training.cuda_graph),
      steps_before_capture_(2) {
  // On a CPU the numbers are read late all the same, and there is nothing to capture.
  if (late_.late() && d_.numerics.device.is_cuda()) graph_ = std::make_unique<CudaGraph>();
  VPD_CHECK(rows_.size() * processes_.count() == B_ && rows_.size() % micro_ == 0, UsageError,
            "training step: expected {} rows to be divided evenly among {} processes, and {} of each into "
            "micro-batches of {}",
            B_, processes_.count(), rows_.size(), micro_);
  keep_outputs_ = compares_sites(objective_);
  for (std::size_t k = 0; k < objective_.size(); ++k) {
    StepTerm term;
    term.plan = objective_[k];
    term.number = k;
    const AdversaryConfig* adversary = term.plan.adversary();
    if (const auto* persistent = adversary ? std::get_if<PersistentAdversaryConfig>(adversary) : nullptr) {
      term.persistent = std::make_unique<PersistentAdversary>(*persistent, d_.sites, B_, T_, d_.numerics,
                                                              config.seed, k, rows_);
      term.climbs = climbs_in_pass(*persistent, term.plan.reconstruction()->routing);
      if (term.local() && !term.climbs) term.local_gradient = term.persistent->make_gradient();
    }
    if (const auto* largest = term.plan.masks<LargestMasks>()) {
      check_kept(largest->kept, B_ * T_, d_.sites, "objective: " + term.plan.label + ".k");
      term.kept = at::zeros({B_ * T_, d_.sites.total_C()}, d_.numerics.options());
    }
    const MinimalityPlan* minimality = term.plan.minimality();
    if (minimality && minimality->moving_average) {
      term.average = std::make_unique<FrequencyAverage>(*minimality->moving_average, d_.sites, d_.numerics);
    }
    terms_.push_back(std::move(term));
  }
  for (int i = 0; i < pool_.count(); ++i) {
    StepLane lane;
    lane.number = static_cast<std::size_t>(i);
    lane.components_gradient = d_.components.make_gradient();
    const bool once = d_.ci->reads_parameters_once();
    if (once && pool_.count() > 1) lane.deferred = std::make_unique<DeferredGradients>();
    if (i == 0 || !lane.deferred) lane.ci_gradient = d_.ci_parameters.make_gradient();
    const at::Tensor ci_gradient = lane.ci_gradient.defined() ? lane.ci_gradient : lanes_.front().ci_gradient;
    lane.components = d_.components.bind(lane.components_gradient);
    lane.frozen_components = d_.components.bind({});
    lane.ci_parameters =
        d_.ci_parameters.bind(ci_gradient, /*overwrites_gradient=*/false, lane.deferred.get());
    lane.first_ci_parameters = d_.ci_parameters.bind(ci_gradient, once, lane.deferred.get());
    lane.frozen_ci_parameters = d_.ci_parameters.bind({});
    lane.source_gradients.resize(terms_.size());
    lanes_.push_back(std::move(lane));
  }
}

StepResult TrainingStep::Impl::run(const at::Tensor& tokens, std::int64_t number, bool want_l0) {
  warm_up_state_ = {};  // its moments are not the loop's
  ci_sum_.reset();      // of a step that was not finite
  for (const StepLane& lane : lanes_) {
    if (lane.deferred) lane.deferred->clear();
  }
  late_.begin(number);
  const StepValues values = values_at(config_, minimality_sums(objective_, number, config_.training.steps),
                                      number, terms_, components_state_.count, late_);
  const at::Tensor batch = page_locked(tokens, d_.numerics.device);
  StepResult result;
  if (graph_) {
    const SideStream side(d_.numerics.device);
    late_.upload();
    if (!staged_.defined()) staged_ = at::empty(tokens.sizes(), tokens.options().device(d_.numerics.device));
    staged_.copy_(batch, /*non_blocking=*/true);
    // What the captured step will do, those before it do too: no kernel may be loaded during the capture.
    result = steps_before_capture_-- > 0 ? enqueue(staged_, values, /*want_l0=*/true)
                                         : capture_and_replay(staged_, values);
  } else {
    late_.upload();
    result = enqueue(batch.to(d_.numerics.device, /*non_blocking=*/true), values, want_l0);
  }
  if (want_l0) {  // never in a graph, which would do it in every step
    for (const StepTerm& term : terms_)
      result.saturated_sources.push_back(term.persistent ? saturated(*term.persistent) : at::Tensor());
  }
  ++components_state_.count, ++ci_state_.count;
  for (StepTerm& term : terms_) {
    if (term.persistent)
      term.persistent->ascents += static_cast<std::int64_t>(values.terms[term.number].ascents.size());
  }
  return result;
}

void TrainingStep::Impl::forget_batch() {
  if (graph_ && graph_->captured()) return;  // its memory stays the graph's
  for (StepLane& lane : lanes_) lane.forget_batch();
}

/// The steps before found out which numbers there are and set libraries up.
StepResult TrainingStep::Impl::capture_and_replay(const at::Tensor& tokens, const StepValues& values) {
  if (!graph_->captured()) {
    forget_batch();  // memory that the graph takes anew
    graph_->capture([&] { graph_result_ = enqueue(tokens, values, /*want_l0=*/true); });
  }
  graph_->replay();
  return graph_result_;
}

/// All of a step's work. On CUDA nothing here waits for the device, and nothing depends on the step but
/// through `values`: a captured step runs this once.
StepResult TrainingStep::Impl::enqueue(const at::Tensor& tokens, const StepValues& values, bool want_l0) {
  StepContext step{d_, B_, T_, values, {}};
  begin(step, want_l0);
  WholeBatch whole = whole_batch(tokens, step);
  ascend_shared(tokens, step);
  pass_over(tokens, step, whole);
  StepResult result = add_up(step, whole, want_l0);
  make_update(values, result);
  ascend_after_update(values);
  return result;
}

/// Empties what lanes add to, and lets pooled adversaries draw.
void TrainingStep::Impl::begin(const StepContext& step, bool want_l0) {
  for (const StepTerm& term : terms_) {
    if (term.persistent)
      term.persistent->begin_step(step.values.key(RandomPurpose::pooled_sources, term.number));
  }
  const at::TensorOptions options = d_.numerics.options();
  for (StepLane& lane : lanes_) {
    lane.losses.clear();
    lane.sums.clear();
    lane.active = want_l0 ? at::zeros({}, options.dtype(at::kLong)) : at::Tensor();
    for (std::size_t k = 0; k < terms_.size(); ++k)
      lane.losses.push_back(at::zeros({}, options.dtype(at::kDouble)));
    for (std::size_t k = 0; k < step.values.minimality.size(); ++k)
      lane.sums.push_back(at::zeros({d_.sites.total_C()}, options.dtype(at::kDouble)));
  }
}

}  // namespace vpd
