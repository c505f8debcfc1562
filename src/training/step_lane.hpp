#pragma once

// What the training step keeps per term and per lane.

#include "vpd/adversary/fresh.hpp"
#include "vpd/training/step.hpp"

namespace vpd {

/// One term of the objective.
struct TrainingStep::Term {
  const TermConfig* config = nullptr;
  std::string label;
  std::size_t number = 0;
  std::unique_ptr<PersistentAdversary> persistent;
  at::Tensor
      local_gradient;  ///< of persistent sources that lanes do not share; each lane writes its own rows
  FreshSources fresh;  ///< of the present step
};

/// One lane: its gradient buffers, and its rows of the present batch.
struct TrainingStep::Lane {
  at::Tensor components_gradient, ci_gradient;
  std::vector<Parameter> components, frozen_components, ci_parameters, frozen_ci_parameters;
  std::vector<at::Tensor> source_gradients;  ///< per term, of sources that lanes share

  std::int64_t first_batch = 0;  ///< number of its first row in the batch
  CleanPass clean;
  Importance importance;
  at::Tensor importance_gradient;
  std::vector<at::Tensor> sums;    ///< per minimality power, float64 [Σ C]
  std::vector<at::Tensor> losses;  ///< per term, float64: sums over the lane's positions
};

/// The lane's rows of a buffer with a row per position.
template <class Lane>
at::Tensor lane_rows(const Lane& lane, const at::Tensor& buffer, std::int64_t T) {
  return buffer.narrow(0, lane.first_batch * T, lane.clean.N());
}

}  // namespace vpd
