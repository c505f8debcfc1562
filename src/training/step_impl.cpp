#include "step_impl.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

TrainingStep::Impl::Impl(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective,
                         std::int64_t T, Lanes& lanes, Processes& processes)
    : d_(decomposition),
      config_(config),
      objective_(std::move(objective)),
      pool_(lanes),
      processes_(processes),
      lanes_meet_(!processes.alone()),
      components_state_(AdamWState::for_parameters(decomposition.components)),
      ci_state_(AdamWState::for_parameters(decomposition.ci_parameters)),
      broken_(at::zeros({}, decomposition.numerics.options().dtype(at::kFloat))),
      late_(decomposition.numerics, config.seed, config.training.cuda_graph),
      steps_before_capture_(2) {
  // On a CPU the numbers are read late all the same, and there is nothing to capture.
  if (late_.late() && d_.numerics.device.is_cuda()) graph_ = std::make_unique<CudaGraph>();
  add_stream(TermRows::target, config.training.batch_size, config.data.train);
  if (config.data.background)
    add_stream(TermRows::background, config.background_rows(), *config.data.background);
  keep_outputs_ = compares_sites(objective_);
  for (std::size_t k = 0; k < objective_.size(); ++k) {
    StepTerm term;
    term.plan = objective_[k];
    term.number = k;
    const AdversaryConfig* adversary = term.plan.adversary();
    if (const auto* persistent = adversary ? std::get_if<PersistentAdversaryConfig>(adversary) : nullptr) {
      const StepStream& stream = streams_[static_cast<std::size_t>(term.plan.rows)];
      const std::int64_t longest =
          stream.which == TermRows::target ? T : row_length(config.data.background.value());
      term.persistent = std::make_unique<PersistentAdversary>(*persistent, d_.sites, stream.B, longest,
                                                              d_.numerics, config.seed, k, stream.rows);
      term.climbs = climbs_in_pass(*persistent, term.plan.reconstruction()->routing);
      if (term.local() && !term.climbs) term.local_gradient = term.persistent->make_gradient();
    }
    if (const auto* largest = term.plan.masks<LargestMasks>()) {
      const std::int64_t N = streams_.front().B * T;
      check_kept(largest->kept, N, d_.sites, "objective: " + term.plan.label + ".k");
      term.kept = at::zeros({N, d_.sites.total_C()}, d_.numerics.options());
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

void TrainingStep::Impl::add_stream(TermRows which, std::int64_t B, const DataSource& source) {
  StepStream stream{.which = which,
                    .number = streams_.size(),
                    .B = B,
                    .where = compared_positions(source),
                    .rows = lane_range(B, processes_.rank(), processes_.count()),
                    .objective = terms_of(objective_, which),
                    // To see which rows are equal, a GPU would have to be waited for.
                    .repeats = std::holds_alternative<PromptsData>(source) && d_.numerics.device.is_cpu()};
  stream.micro = std::min(config_.training.micro_batch_size.value_or(B), stream.rows.size());
  VPD_CHECK(stream.rows.size() * processes_.count() == B && stream.rows.size() % stream.micro == 0,
            UsageError,
            "training step: expected {} rows to be divided evenly among {} processes, and {} of each into "
            "micro-batches of {}",
            B, processes_.count(), stream.rows.size(), stream.micro);
  VPD_CHECK(stream.micro >= pool_.count(), UsageError,
            "training step: expected at most as many lanes as rows at once, which are {}, found {}",
            stream.micro, pool_.count());
  streams_.push_back(std::move(stream));
}

StepResult TrainingStep::Impl::run(const std::vector<at::Tensor>& inputs, std::int64_t number, bool want_l0) {
  VPD_CHECK(inputs.size() == streams_.size(), UsageError,
            "training step: expected rows of {} kinds, those of the target and of the background where there "
            "is one, found {}",
            streams_.size(), inputs.size());
  warm_up_state_ = {};  // its moments are not the loop's
  ci_sum_.reset();      // of a step that was not finite
  for (const StepLane& lane : lanes_) {
    if (lane.deferred) lane.deferred->clear();
  }
  late_.begin(number);
  const StepValues values = values_at(config_, streams_, number, terms_, components_state_.count, late_);
  StepResult result;
  if (graph_) {
    const SideStream side(d_.numerics.device);
    late_.upload();
    stage(inputs);
    // What the captured step will do, those before it do too: no kernel may be loaded during the capture.
    result =
        steps_before_capture_-- > 0 ? enqueue(staged_, values, /*want_l0=*/true) : capture_and_replay(values);
  } else {
    late_.upload();
    std::vector<at::Tensor> batches;
    for (const at::Tensor& input : inputs)
      batches.push_back(page_locked(input, d_.numerics.device).to(d_.numerics.device, /*non_blocking=*/true));
    result = enqueue(batches, values, want_l0);
  }
  if (want_l0) {  // never in a graph, which would do it in every step
    for (const StepTerm& term : terms_)
      result.saturated_sources.push_back(term.persistent ? saturated(*term.persistent) : at::Tensor());
  }
  ++components_state_.count, ++ci_state_.count;
  for (StepTerm& term : terms_) {
    const TermValues& now = values.terms[term.number];
    if (term.persistent && !now.asleep)
      term.persistent->ascents += static_cast<std::int64_t>(now.ascents.size());
  }
  return result;
}

void TrainingStep::Impl::forget_batch() {
  if (graph_ && graph_->captured()) return;  // its memory stays the graph's
  for (StepLane& lane : lanes_) lane.forget_batch();
}

/// Copies the batches to where a captured step reads them.
void TrainingStep::Impl::stage(const std::vector<at::Tensor>& inputs) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (staged_.size() <= i)
      staged_.push_back(at::empty(inputs[i].sizes(), inputs[i].options().device(d_.numerics.device)));
    VPD_CHECK(staged_[i].sizes() == inputs[i].sizes(), UsageError,
              "training.cuda_graph: expected rows of {} tokens in every step, since a captured step has one "
              "shape, found {}: set it to false for prompts of several lengths",
              length_of(staged_[i]), length_of(inputs[i]));
    staged_[i].copy_(page_locked(inputs[i], d_.numerics.device), /*non_blocking=*/true);
  }
}

/// The steps before found out which numbers there are and set libraries up.
StepResult TrainingStep::Impl::capture_and_replay(const StepValues& values) {
  if (!graph_->captured()) {
    forget_batch();  // memory that the graph takes anew
    graph_->capture([&] { graph_result_ = enqueue(staged_, values, /*want_l0=*/true); });
  }
  graph_->replay();
  return graph_result_;
}

/// All of a step's work. On CUDA nothing here waits for the device, and nothing depends on the step but
/// through `values`: a captured step runs this once. Streams follow each other, and gradients add up.
StepResult TrainingStep::Impl::enqueue(const std::vector<at::Tensor>& inputs, const StepValues& values,
                                       bool want_l0) {
  begin(values, want_l0);
  std::vector<at::Tensor> minimality(terms_.size());
  std::vector<std::int64_t> lengths;
  for (const StepStream& stream : streams_) {
    const at::Tensor& input = inputs[stream.number];
    lengths.push_back(length_of(input));
    StepContext step{d_, stream, stream.B, lengths.back(), values, {}};
    for (StepTerm& term : terms_) {
      if (term.persistent && term.of(stream)) term.persistent->use_length(step.T);
    }
    WholeBatch whole = whole_batch(input, step);
    ascend_shared(input, step);
    pass_over(input, step, whole);
    take_minimality(step, whole, minimality);
  }
  StepResult result = add_up(values, lengths, std::move(minimality), want_l0);
  make_update(values, result);
  ascend_after_update(values);
  return result;
}

/// Empties what lanes add to, and lets pooled adversaries draw.
void TrainingStep::Impl::begin(const StepValues& values, bool want_l0) {
  for (const StepTerm& term : terms_) {
    if (term.persistent && !values.terms[term.number].asleep)
      term.persistent->begin_step(values.key(RandomPurpose::pooled_sources, term.number));
  }
  const at::TensorOptions options = d_.numerics.options();
  for (StepLane& lane : lanes_) {
    lane.losses.clear();
    lane.active.assign(streams_.size(), {});
    for (at::Tensor& active : lane.active) {
      if (want_l0) active = at::zeros({}, options.dtype(at::kLong));
    }
    for (std::size_t k = 0; k < terms_.size(); ++k)
      lane.losses.push_back(at::zeros({}, options.dtype(at::kDouble)));
    if (config_.training.unused_decay > 0.0) lane.largest = at::zeros({d_.sites.total_C()}, options);
  }
}

}  // namespace vpd
