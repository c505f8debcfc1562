#pragma once

// The training step, in three phases: what terms need of the whole batch before any loss (step_batch.cpp),
// the passes of each micro-batch (step_passes.cpp), and the update (step_update.cpp). Beside them the ascents
// of shared sources (step_ascents.cpp), sums over processes (step_sums.cpp), and what is kept between steps
// (step_state.cpp). reference_step.cpp is the same without what makes it fast.

#include <memory>
#include <optional>
#include <vector>

#include "term_pass.hpp"
#include "vpd/machine/cuda_graph.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/processes.hpp"
#include "vpd/training/late_block.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// What terms take from all rows of the batch.
struct WholeBatch {
  std::vector<Processes::Sum> under_way;  ///< per penalty, the sum of its sums over processes
  at::Tensor importance_sums, frequency_sums;
  std::vector<PenaltyGradient> penalties;  ///< once the sums were taken
};

struct TrainingStep::Impl {
  Impl(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective, std::int64_t T,
       Lanes& lanes, Processes& processes);

  void add_stream(TermRows which, std::int64_t B, const DataSource& source);

  /// `inputs`: of each stream.
  StepResult run(const std::vector<at::Tensor>& inputs, std::int64_t number, bool want_l0);
  StepResult enqueue(const std::vector<at::Tensor>& inputs, const StepValues& values, bool want_l0);
  void stage(const std::vector<at::Tensor>& inputs);
  StepResult capture_and_replay(const StepValues& values);
  void begin(const StepValues& values, bool want_l0);

  // The whole batch.
  void prepare(const at::Tensor& tokens, const StepContext& step, const Range& micro_batch, bool graph,
               bool whole_batch);
  WholeBatch whole_batch(const at::Tensor& tokens, StepContext& step);
  void take_sums(WholeBatch& whole, const StepContext& step);

  // Micro-batches, parts of this process's rows, numbered from its first.
  template <class Visit>
  void for_each_micro_batch(const StepStream& stream, const Visit& visit) {
    for_each_part(Range{0, stream.rows.size()}, stream.micro, visit);
  }
  void pass_over(const at::Tensor& tokens, const StepContext& step, WholeBatch& whole);
  void lane_losses(StepLane& lane, const StepContext& step, bool first_micro_batch);
  void lane_importances(StepLane& lane, const StepStream& stream,
                        const std::vector<PenaltyGradient>& penalties);
  void take_minimality(const StepContext& step, const WholeBatch& whole, std::vector<at::Tensor>& losses);
  StepResult add_up(const StepValues& values, const std::vector<std::int64_t>& lengths,
                    std::vector<at::Tensor> minimality, bool want_l0);

  // Ascents of sources that lanes share.
  void ascend_shared(const at::Tensor& tokens, const StepContext& step);
  void begin_source_sum(StepTerm& term);
  void ascend_together(StepTerm& term, const StepValues& values, std::int64_t ascent);
  void ascend_after_update(const StepValues& values);
  at::Tensor saturated(const PersistentAdversary& adversary) const;

  // Sums over lanes and processes.
  void make_deferred_gradients();
  void begin_components_sum();
  void begin_gradient_sums();
  void finish_gradient_sums();
  std::vector<at::Tensor> lane_gradients(at::Tensor StepLane::*gradient) const;
  std::size_t shares() const;
  std::size_t share_of(std::size_t lane) const;

  // The update.
  void make_update(const StepValues& values, StepResult& result);
  void decay_unused(const StepValues& values);
  at::Tensor warm_up();

  void check(const StepResult& result, std::int64_t step) const;
  void forget_batch();
  void share();
  NamedTensors state() const;
  void load(const std::filesystem::path& file, std::int64_t steps_made);

  Decomposition& d_;
  const RunConfig& config_;
  ObjectivePlan objective_;
  Lanes& pool_;
  Processes& processes_;
  std::vector<StepStream> streams_;
  bool lanes_meet_;            // between losses and importances, so that final gradients travel meanwhile
  bool keep_outputs_ = false;  // of the sites, in the clean pass
  std::vector<StepTerm> terms_;
  std::vector<StepLane> lanes_;
  AdamWState components_state_, ci_state_, warm_up_state_;
  at::Tensor broken_;  ///< float32, on the device: not 0 once a step was not finite
  LateBlock late_;
  std::unique_ptr<CudaGraph> graph_;  ///< where the step is to be captured
  std::int64_t steps_before_capture_;
  std::vector<at::Tensor> staged_;  ///< the batches on the device, where the captured step reads them
  StepResult graph_result_;         ///< its tensors, which every replay overwrites
  Processes::Sum components_sum_;
  std::optional<SumInParts> ci_sum_;
};

}  // namespace vpd
