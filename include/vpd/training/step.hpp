#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/adversary/persistent.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/kernels/lanes.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/training/optimizer.hpp"

namespace vpd {

/// What a step measured before its update. Tensors are zero-dimensional float64 on the run's device: reading
/// one waits for it.
struct StepResult {
  std::vector<std::string> labels;  ///< of the objective's terms, in its order
  std::vector<at::Tensor> losses;   ///< one per term, without coefficients
  at::Tensor total;
  at::Tensor components_norm;  ///< of the gradient, before clipping
  at::Tensor causal_importance_norm;
  at::Tensor l0;  ///< mean number of causal importances above 0 a position; undefined unless asked for
  /// Per term: part of its persistent sources at 0 or 1, undefined without any; empty unless asked for
  std::vector<at::Tensor> saturated_sources;
  at::Tensor broken;  ///< float32: not 0 where this step, or one before it, was not finite and was skipped
};

/// The training step (method, section 7) and everything that it carries from one step to the next.
///
/// The batch's rows are divided into micro-batches, one after another, and each of those among lanes, side by
/// side. Neither changes what is computed: draws belong to positions of the whole batch, and the minimality
/// sums run over all of it.
class TrainingStep {
 public:
  /// T: tokens a row. `decomposition` and `lanes` must outlive the step.
  TrainingStep(Decomposition& decomposition, const RunConfig& config, std::int64_t T, Lanes& lanes);
  ~TrainingStep();

  /// One step on tokens [B, T] (int64, on the CPU): losses, their gradients, AdamW, the adversaries' ascents.
  /// Throws NumericalError, with nothing updated, where a loss is NaN or infinite (on CUDA the update is
  /// skipped on the device, and check() reports it).
  StepResult run(const at::Tensor& tokens, std::int64_t step, bool want_l0 = false);

  /// Throws NumericalError naming the first loss that is NaN or infinite and the first site whose values or
  /// gradients are.
  void check(const StepResult& result, std::int64_t step) const;

  /// One step of the faithfulness warm-up: AdamW on U and V alone. Returns the loss before the update.
  at::Tensor warm_up();

  /// Optimizer moments and adversaries' sources, with names that load() knows.
  NamedTensors state() const;
  void load(const std::filesystem::path& file, std::int64_t steps_made);

 private:
  struct Term;
  struct Lane;

  void prepare(const at::Tensor& tokens, std::int64_t first, bool graph,
               const std::vector<MinimalityPower>* powers);
  void ascend_shared(const at::Tensor& tokens, std::int64_t step);
  void ascend_together(Term& term, std::int64_t step);
  void lane_losses(Lane& lane, std::size_t number, std::int64_t step,
                   const std::vector<PowerGradient>& powers, bool first_micro_batch);
  at::Tensor term_pass(Lane& lane, const Term& term, std::int64_t step, std::int64_t draw, bool ascent,
                       double coefficient);

  Decomposition& d_;
  const RunConfig& config_;
  Lanes& pool_;
  std::int64_t B_, T_, micro_;
  std::vector<Term> terms_;
  std::vector<Lane> lanes_;
  AdamWState components_state_, ci_state_, warm_up_state_;
  at::Tensor broken_;
};

/// How many lanes suit a training run, whose lanes have gradient buffers each.
int suitable_lanes(const Decomposition& decomposition, std::int64_t rows, int threads);

}  // namespace vpd
