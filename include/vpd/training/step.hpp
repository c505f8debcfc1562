#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/plan.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/machine/processes.hpp"

namespace vpd {

/// What a step measured before its update. Tensors are zero-dimensional float64 on the run's device: reading
/// one waits for it.
struct StepResult {
  std::vector<std::string> labels;  ///< of the objective's terms, in its order
  std::vector<at::Tensor> losses;   ///< one per term, without coefficients; undefined of those that sleep
  at::Tensor total;
  at::Tensor components_norm;  ///< of the gradient, before clipping
  at::Tensor causal_importance_norm;
  at::Tensor l0;  ///< mean number of causal importances above 0 a position; undefined unless asked for
  at::Tensor background_l0;  ///< of the background's positions; undefined without any
  /// Per term: part of its persistent sources at 0 or 1, undefined without any; empty unless asked for
  std::vector<at::Tensor> saturated_sources;
  at::Tensor broken;  ///< float32: not 0 where this step, or one before it, was not finite and was skipped
};

/// The training step (method, section 7) and everything that it carries from one step to the next.
///
/// The batch's rows are divided among processes, those of each into micro-batches, one after another, and
/// each of these among lanes, side by side. None of it changes what is computed: draws belong to positions of
/// the whole batch, the minimality sums run over all of it, and so do losses, gradients and their norms.
class TrainingStep {
 public:
  /// T: tokens a row, of the longest where rows differ. `decomposition`, `config`, `lanes` and `processes`
  /// must outlive the step. Throws UsageError where the batch cannot be divided evenly among processes, or
  /// what one of them has into micro-batches.
  TrainingStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T, Lanes& lanes,
               Processes& processes = Processes::none());
  /// The same with terms of a program's own, in place of those of `config.objective`.
  TrainingStep(Decomposition& decomposition, const RunConfig& config, ObjectivePlan objective, std::int64_t T,
               Lanes& lanes, Processes& processes = Processes::none());
  ~TrainingStep();

  /// The rows of each batch that this process works on; of the background only where there is one.
  Range rows(TermRows which = TermRows::target) const;

  /// Everything that processes share, from process 0 to all: parameters and shared sources. To be called
  /// before the first step: equal seeds give equal draws, but not on every processor to the last bit.
  void share();

  /// One step on this process's rows of the batch, tokens [rows().size(), T] (int64, on the CPU), or fewer
  /// positions where prompts are shorter, and of the background, where the configuration has one: losses,
  /// their gradients, AdamW, the adversaries' ascents.
  /// With training.cuda_graph on CUDA the third step is captured, and launched as one from then on; what an
  /// earlier call returned is then overwritten by the next.
  /// Throws NumericalError, with no parameter updated, where a loss is NaN or infinite (on CUDA the update is
  /// skipped on the device, and check() reports it). Adversaries may have climbed by then: to go on, load()
  /// an earlier state.
  StepResult run(const at::Tensor& tokens, std::int64_t number, bool want_l0 = false,
                 const at::Tensor& background = {});

  /// Throws NumericalError naming the first loss that is NaN or infinite and the first site whose values or
  /// gradients are.
  void check(const StepResult& result, std::int64_t step) const;

  /// Lets go of what the last step computed from its batch, so that there is room for an evaluation. Without
  /// effect on a captured step, whose memory is its own. To be called after check().
  void forget_batch();

  /// One step of the faithfulness warm-up: AdamW on U and V alone. Returns the loss before the update.
  at::Tensor warm_up();

  /// Optimizer moments and adversaries' sources, with names that load() knows. All processes call it; process
  /// 0 gets everything, the others what is theirs anyway.
  NamedTensors state() const;
  void load(const std::filesystem::path& file, std::int64_t steps_made);

 private:
  struct Impl;

  std::unique_ptr<Impl> impl_;
};

/// How many lanes suit a training run, whose lanes have gradient buffers each, but for causal-importance
/// functions whose parameters are read once.
int suitable_lanes(const Decomposition& decomposition, std::int64_t rows, int threads);
/// Elements of those buffers.
std::int64_t gradients_of_a_lane(const ParameterSet& components, const ParameterSet& ci_parameters,
                                 const CausalImportance& ci);

}  // namespace vpd
