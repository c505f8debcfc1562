#pragma once

// What the training step keeps per term and per lane, and what its parts share.

#include <memory>
#include <string>
#include <vector>

#include "vpd/adversary/fresh.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/config/plan.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/objective/minimality.hpp"
#include "vpd/ops/optimizer.hpp"
#include "vpd/passes/batch.hpp"
#include "vpd/passes/repeated_rows.hpp"
#include "vpd/training/late_block.hpp"

namespace vpd {

/// The rows of one kind that a step takes, and how they are divided.
struct StepStream {
  TermRows which = TermRows::target;
  std::size_t number = 0;
  std::int64_t B = 0;  ///< rows of a batch, of all processes
  ComparedPositions where = ComparedPositions::all;
  Range rows;               ///< of the batch, those of this process
  std::int64_t micro = 0;   ///< rows that a process has at once
  ObjectivePlan objective;  ///< the terms that are taken of them
  bool repeats = false;     ///< a few rows over and over, whose clean passes are kept

  /// Positions of a batch with rows of length T at which outputs are compared.
  std::int64_t compared(std::int64_t T) const { return where == ComparedPositions::last ? B : B * T; }
  bool at_once() const { return micro == rows.size(); }
};

/// One term of the objective.
struct StepTerm {
  TermPlan plan;
  std::size_t number = 0;
  std::unique_ptr<PersistentAdversary> persistent;
  bool climbs = false;  ///< the backward pass lets its persistent sources climb, and no gradient is kept
  at::Tensor local_gradient;  ///< of others that lanes do not share; each lane writes its own rows
  FreshSources fresh;         ///< of the present step
  Processes::Sum sum;         ///< of the gradient of sources that processes share

  bool of(const StepStream& stream) const { return plan.rows == stream.which; }
  /// Whether each lane has persistent sources of its own.
  bool local() const { return persistent && persistent->local(); }
  std::unique_ptr<FrequencyAverage> average;
  at::Tensor kept;  ///< of LargestMasks wide [B T, Σ C]: attributions, then 1 where they are kept
};

/// What the schedules of one term say at one step.
struct TermValues {
  double coefficient = 0.0;
  bool asleep = false;              ///< it makes no passes in this step
  std::vector<AscentRule> ascents;  ///< of a persistent adversary: those before the loss, and the one after
  LateNumber adversarial_fraction = 1.0;  ///< of merged masks
};

/// Everything in a step that its number decides, found out once at its beginning. What a captured step may
/// read late is late here.
struct StepValues {
  std::int64_t step = 0;
  AdamWNumbers components, causal_importance;
  std::vector<TermValues> terms;
  std::vector<std::vector<MinimalitySum>> minimality;  ///< of each stream
  LateBlock* late = nullptr;

  /// The key of a term's draw; `which` tells the draws of one purpose apart.
  LateKey key(RandomPurpose purpose, std::size_t term, std::int64_t which = 0) const {
    return late->key(purpose, term, static_cast<std::uint64_t>(which));
  }
};

/// `updates`: optimizer updates made before this step.
StepValues values_at(const RunConfig& config, const std::vector<StepStream>& streams, std::int64_t step,
                     const std::vector<StepTerm>& terms, std::int64_t updates, LateBlock& late);

/// One lane: its rows of the present batch, numbered in the whole one, and its gradient buffers.
struct StepLane : LaneBatch {
  at::Tensor components_gradient, ci_gradient;
  std::unique_ptr<DeferredGradients> deferred;  ///< where lanes share the first one's ci_gradient; else null
  BoundSubcomponents components, frozen_components;
  std::vector<Parameter> ci_parameters, frozen_ci_parameters;
  std::vector<Parameter> first_ci_parameters;  // of the first micro-batch, which may store gradients
  std::vector<at::Tensor> source_gradients;    ///< per term, of sources that lanes share

  std::int64_t first_here = 0;  ///< number of its first row among those of this process
  CleanPassCache kept_passes;   ///< of streams that repeat
  at::Tensor importance_gradient;
  std::vector<at::Tensor> active;  ///< per stream, int64: active importances, z > 0; undefined: not counted
  at::Tensor largest;              ///< wide [Σ C]: the largest z of this step; undefined: nobody asks
  std::vector<at::Tensor> sums;    ///< per minimality sum, float64 [Σ C]
  std::vector<at::Tensor> losses;  ///< per term, float64: sums over the lane's positions

  /// Gives back the memory of what it has of a batch, before it takes the next one.
  void forget_batch() {
    clean = CleanPass();
    importance = Importance();
    importance_gradient = at::Tensor();
  }
};

}  // namespace vpd
