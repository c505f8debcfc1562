#include "vpd/training/step.hpp"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>

#include "term_pass.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/squash.hpp"
#include "vpd/objective/faithfulness.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/training/part_names.hpp"

namespace vpd {
namespace {

at::Tensor scalar(double value, const Numerics& numerics) {
  return at::full({}, value, numerics.options().dtype(at::kDouble));
}

}  // namespace

std::int64_t gradients_of_a_lane(const ParameterSet& components, const ParameterSet& ci_parameters,
                                 const CausalImportance& ci) {
  return components.flat().numel() + (ci.reads_parameters_once() ? 0 : ci_parameters.flat().numel());
}

int suitable_lanes(const Decomposition& decomposition, std::int64_t rows, int threads) {
  return suitable_lanes(
      decomposition.numerics.device, rows, threads,
      gradients_of_a_lane(decomposition.components, decomposition.ci_parameters, *decomposition.ci));
}

TrainingStep::TrainingStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T,
                           Lanes& lanes, Processes& processes)
    : TrainingStep(decomposition, config, plan_of(config.objective), T, lanes, processes) {}

TrainingStep::TrainingStep(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective,
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
    lane.components_gradient = d_.components.make_gradient();
    const bool once = d_.ci->reads_parameters_once();
    if (once && pool_.count() > 1) lane.deferred = std::make_unique<DeferredGradients>();
    if (i == 0 || !lane.deferred) lane.ci_gradient = d_.ci_parameters.make_gradient();
    const at::Tensor ci_gradient = lane.ci_gradient.defined() ? lane.ci_gradient : lanes_.front().ci_gradient;
    lane.components = d_.components.bind(lane.components_gradient);
    lane.frozen_components = d_.components.bind({});
    lane.ci_parameters = d_.ci_parameters.bind(ci_gradient, /*stores=*/false, lane.deferred.get());
    lane.first_ci_parameters = d_.ci_parameters.bind(ci_gradient, once, lane.deferred.get());
    lane.frozen_ci_parameters = d_.ci_parameters.bind({});
    lane.source_gradients.resize(terms_.size());
    lanes_.push_back(std::move(lane));
  }
}

TrainingStep::~TrainingStep() = default;

/// Clean forward and causal importances of rows [first, first + micro) in every lane; with a graph where
/// losses follow. `whole_batch` adds what terms need of all rows before any loss: sums of penalties and
/// attributions.
void TrainingStep::prepare(const at::Tensor& tokens, std::int64_t first, bool graph,
                           const StepContext* whole_batch) {
  GradientsReady ready;
  if (graph && !processes_.alone() && lanes_.size() == 1) {
    ready = [this](std::size_t parameter) {
      if (ci_sum_) ci_sum_->final_from(d_.ci_parameters.offset(parameter));
    };
  }
  pool_.run([&](int i) {
    StepLane& lane = lanes_[static_cast<std::size_t>(i)];
    const Range part = lane_range(micro_, i, pool_.count());
    lane.first_here = first + part.begin;
    lane.first_batch = rows_.begin + lane.first_here;
    lane.forget_batch();
    {
      RECORD_USER_SCOPE(step_part::clean_forward);
      lane.clean = clean_pass(d_, tokens.narrow(0, lane.first_here, part.size()), keep_outputs_);
    }
    {
      RECORD_USER_SCOPE(step_part::importance_forward);
      const at::AutoGradMode record(graph);
      const std::vector<Parameter>& trained = first == 0 ? lane.first_ci_parameters : lane.ci_parameters;
      lane.importance =
          causal_importance(d_, lane.clean, graph ? trained : lane.frozen_ci_parameters,
                            graph ? lane.components : lane.frozen_components, /*want_lower=*/false, ready);
    }
    const at::NoGradGuard no_grad;
    if (graph) lane.importance_gradient = at::zeros(lane.importance.z.sizes(), d_.numerics.options());
    if (!whole_batch) return;
    {
      RECORD_USER_SCOPE(step_part::penalty_sums);
      const std::vector<MinimalitySum>& minimality = whole_batch->values.minimality;
      for (std::size_t k = 0; k < minimality.size(); ++k)
        lane.sums[k].add_(penalty_sums(lane.importance.z.detach(), minimality[k].penalty));
    }
    for (const StepTerm& term : terms_) {
      if (!term.kept.defined()) continue;
      RECORD_USER_SCOPE(step_part::attributions(term.plan.label));
      attribute_squared_norm(d_, lane.clean, lane.frozen_components,
                             term.kept.narrow(0, lane.first_batch * T_, lane.clean.N()));
    }
  });
}

/// What needs one lane alone: ascents of its own sources, losses, and their backward passes to U, V and the
/// causal importances.
void TrainingStep::lane_losses(StepLane& lane, std::size_t number, const StepContext& step,
                               bool first_micro_batch) {
  for (const StepTerm& term : terms_) {
    at::Tensor& loss = lane.losses[term.number];
    if (term.plan.reconstruction()) {
      const std::int64_t draw = ascend_locally(step, lane, term);
      RECORD_USER_SCOPE(term.plan.label);
      loss.add_(reconstruction_pass(step, lane, term, aim_of_loss(step, term), draw));
    } else if (!term.plan.minimality() && first_micro_batch) {  // minimality's sums run over the whole batch
      RECORD_USER_SCOPE(term.plan.label);
      loss.add_(parameter_pass(step, lane, term, share_of(number), shares()));
    }
  }
}

/// The rest of the backward pass: from the causal importances to the parameters of their function.
void TrainingStep::lane_importances(StepLane& lane, const std::vector<PenaltyGradient>& penalties) {
  RECORD_USER_SCOPE(step_part::importance_backward);
  const at::Tensor dz = squash_backward(lane.importance.z.detach(), lane.importance_gradient,
                                        penalties.data(), static_cast<int>(penalties.size()), lane.active);
  torch::autograd::backward({lane.importance.z}, {dz});
  lane.importance.z = lane.importance.z.detach();
}

StepResult TrainingStep::run(const at::Tensor& tokens, std::int64_t number, bool want_l0) {
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

void TrainingStep::forget_batch() {
  if (graph_ && graph_->captured()) return;  // its memory stays the graph's
  for (StepLane& lane : lanes_) lane.forget_batch();
}

/// The steps before found out which numbers there are and set libraries up.
StepResult TrainingStep::capture_and_replay(const at::Tensor& tokens, const StepValues& values) {
  if (!graph_->captured()) {
    forget_batch();  // memory that the graph takes anew
    graph_->capture([&] { graph_result_ = enqueue(tokens, values, /*want_l0=*/true); });
  }
  graph_->replay();
  return graph_result_;
}

/// All of a step's work. On CUDA nothing here waits for the device, and nothing depends on the step but
/// through `values`: a captured step runs this once.
StepResult TrainingStep::enqueue(const at::Tensor& tokens, const StepValues& values, bool want_l0) {
  const std::int64_t N = B_ * T_;
  StepContext step{d_, config_, B_, T_, values, {}};
  const std::vector<MinimalitySum>& minimality = values.minimality;
  for (const StepTerm& term : terms_) {
    if (term.kept.defined()) step.kept = term.kept;
    if (term.persistent) term.persistent->begin_step(values.key(RandomPurpose::pooled_sources, term.number));
  }
  const bool whole = micro_ == rows_.size();
  for (StepLane& lane : lanes_) {
    lane.losses.clear();
    lane.sums.clear();
    lane.active = want_l0 ? at::zeros({}, d_.numerics.options().dtype(at::kLong)) : at::Tensor();
    for (std::size_t k = 0; k < terms_.size(); ++k) lane.losses.push_back(scalar(0.0, d_.numerics));
    for (std::size_t k = 0; k < minimality.size(); ++k) {
      lane.sums.push_back(at::zeros({d_.sites.total_C()}, d_.numerics.options().dtype(at::kDouble)));
    }
  }
  if (step.kept.defined() && !processes_.alone()) step.kept.zero_();
  if (whole || !minimality.empty() || step.kept.defined()) {
    for (std::int64_t first = 0; first < rows_.size(); first += micro_)
      prepare(tokens, first, /*graph=*/whole, &step);
  }
  if (step.kept.defined()) {
    const double k = largest_masks(objective_)->kept;
    processes_.sum(step.kept);  // each has filled its own rows
    keep_largest(step.kept, kept_count(k, N, d_.sites));
  }
  std::vector<Processes::Sum> sums_over_processes;
  for (std::size_t k = 0; k < minimality.size(); ++k) {
    const at::Tensor total = lanes_.front().sums[k];
    for (std::size_t i = 1; i < lanes_.size(); ++i) total.add_(lanes_[i].sums[k]);
    sums_over_processes.push_back(processes_.begin_sum(total));
  }
  at::Tensor importance_sums, frequency_sums;
  std::vector<PenaltyGradient> penalties;
  const auto take_sums = [&] {
    for (std::size_t k = 0; k < minimality.size(); ++k) {
      sums_over_processes[k].wait();
      at::Tensor total = lanes_.front().sums[k];
      if (minimality[k].has_importance) importance_sums = total;
      if (minimality[k].has_frequency) {
        frequency_sums = total;
        for (StepTerm& term : terms_) {
          if (term.average) frequency_sums = term.average->estimate(total, N);
        }
        total = frequency_sums;
      }
      penalties.push_back(minimality_gradient(minimality[k], total, N));
    }
  };
  if (processes_.alone()) take_sums();
  ascend_shared(tokens, step);
  for (std::int64_t first = 0; first < rows_.size(); first += micro_) {
    if (!whole) prepare(tokens, first, /*graph=*/true, nullptr);
    pool_.run([&](int i) {
      StepLane& lane = lanes_[static_cast<std::size_t>(i)];
      if (first == 0) {
        lane.components_gradient.zero_();
        if (!d_.ci->reads_parameters_once()) lane.ci_gradient.zero_();
      }
      lane_losses(lane, static_cast<std::size_t>(i), step, first == 0);
      if (processes_.alone()) lane_importances(lane, penalties);
    });
    if (!processes_.alone()) {
      // Lanes meet here, so that what is final travels while they compute the rest.
      if (first == 0) take_sums();
      if (first + micro_ == rows_.size()) begin_gradient_sums();
      pool_.run([&](int i) { lane_importances(lanes_[static_cast<std::size_t>(i)], penalties); });
    }
    make_deferred_gradients();
  }

  std::vector<at::Tensor> losses = std::move(lanes_.front().losses);
  for (std::size_t k = 0; k < losses.size(); ++k) {
    for (std::size_t i = 1; i < lanes_.size(); ++i) losses[k].add_(lanes_[i].losses[k]);
  }
  at::Tensor active = scalar(0.0, d_.numerics);
  if (want_l0) {
    for (const StepLane& lane : lanes_) active.add_(lane.active);
  }
  losses.push_back(active);
  if (!processes_.alone()) {
    const at::Tensor together = at::stack(losses);
    processes_.sum(together);
    losses = together.unbind();
  }

  for (StepTerm& term : terms_) {
    if (term.persistent && !term.local()) begin_source_sum(term);
  }

  StepResult result;
  result.total = scalar(0.0, d_.numerics);
  if (want_l0) result.l0 = losses.back() / static_cast<double>(N);
  for (const StepTerm& term : terms_) {
    at::Tensor loss = losses[term.number];
    if (const MinimalityPlan* plan = term.plan.minimality()) {
      loss = plan->frequency ? frequency_minimality(frequency_sums, N, plan->reference_count)
                             : importance_minimality(importance_sums, N);
    } else {
      loss.div_(divisor(step, term));
    }
    result.labels.push_back(term.plan.label);
    result.losses.push_back(loss);
    result.total.add_(loss, values.terms[term.number].coefficient);
  }
  if (d_.numerics.device.is_cpu()) check(result, values.step);

  make_update(values, result);
  ascend_after_update(values);
  return result;
}

}  // namespace vpd
