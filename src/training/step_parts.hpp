#pragma once

// What the training step keeps per term and per lane, and what its parts share.

#include <memory>
#include <string>
#include <vector>

#include "vpd/adversary/fresh.hpp"
#include "vpd/adversary/persistent.hpp"
#include "vpd/config/run.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/objective/minimality.hpp"

namespace vpd {

/// What the schedules of one term say at one step.
struct TermValues {
  double coefficient = 0.0;
  double ascent_rate = 0.0;  ///< of a persistent adversary
};

/// Everything in a step that its number decides, found out once at its beginning.
struct StepValues {
  std::int64_t step = 0;
  double learning_rate = 0.0;
  std::vector<TermValues> terms;
  std::vector<MinimalityPower> powers;
};
StepValues values_at(const RunConfig& config, std::int64_t step);

/// One term of the objective.
struct StepTerm {
  const TermConfig* config = nullptr;
  std::string label;
  std::size_t number = 0;
  std::unique_ptr<PersistentAdversary> persistent;
  at::Tensor
      local_gradient;  ///< of persistent sources that lanes do not share; each lane writes its own rows
  FreshSources fresh;  ///< of the present step
};

/// One lane: its gradient buffers, and its rows of the present batch.
struct StepLane {
  at::Tensor components_gradient, ci_gradient;
  std::vector<Parameter> components, frozen_components, ci_parameters, frozen_ci_parameters;
  std::vector<at::Tensor> source_gradients;  ///< per term, of sources that lanes share

  std::int64_t first_batch = 0;  ///< number of its first row in the batch
  CleanPass clean;
  Importance importance;
  at::Tensor importance_gradient;
  std::vector<at::Tensor> sums;    ///< per minimality power, float64 [Σ C]
  std::vector<at::Tensor> losses;  ///< per term, float64: sums over the lane's positions

  /// The lane's rows of a buffer with a row per position of the batch.
  at::Tensor rows_of(const at::Tensor& buffer) const {
    return buffer.narrow(0, first_batch * clean.T(), clean.N());
  }
};

}  // namespace vpd
