#pragma once

// What one term of the objective does on one lane.

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "step_parts.hpp"

namespace vpd {

/// What every pass over one kind of rows shares in a step. B and T are the whole batch's.
struct StepContext {
  const Decomposition& decomposition;
  const StepStream& stream;
  std::int64_t B = 0;
  std::int64_t T = 0;
  const StepValues& values;
  at::Tensor kept;  ///< of LargestMasks: see StepTerm
};

/// What a masked pass is made for.
enum class Aim {
  measure,  ///< its loss alone
  ascend,   ///< the gradient of the adversary's sources, along which they climb
  train,    ///< the gradients of parameters and importances, and of the sources of a persistent adversary
};

/// One pass of a reconstruction term (method, sections 4 and 5) over a lane's rows, or one for each sample:
/// the sum of its loss over the rows, float64. `draw` tells the random draws of one step apart.
at::Tensor reconstruction_pass(const StepContext& step, StepLane& lane, const StepTerm& term, Aim aim,
                               std::int64_t draw);

/// What the pass that a reconstruction term's loss comes from is made for. A persistent adversary climbs
/// after a loss that is only measured, too.
Aim aim_of_loss(const StepContext& step, const StepTerm& term);

/// A term of the parameters alone: the sum over the sites of one lane, `number` of `lanes` of all processes,
/// float64.
at::Tensor parameter_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::size_t number,
                          std::size_t lanes);

/// What the sum over the lanes of all processes is divided by; `compared`: positions at which outputs are.
double divisor(const Decomposition& decomposition, std::int64_t compared, const StepTerm& term);

/// Ascents of sources that belong to this lane alone, before the loss is taken. Returns how many.
std::int64_t ascend_locally(const StepContext& step, StepLane& lane, const StepTerm& term);

}  // namespace vpd
