#pragma once

// What one term of the objective does on one lane.

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "step_parts.hpp"

namespace vpd {

/// What every pass of a step shares. B and T are the whole batch's.
struct StepContext {
  const Decomposition& decomposition;
  const RunConfig& config;
  std::int64_t B = 0;
  std::int64_t T = 0;
  const StepValues& values;
  at::Tensor kept;  ///< of the objective's topk_attribution_recon: see StepTerm
};

/// One pass of a reconstruction term (method, sections 4 and 5) over a lane's rows: the sum of its loss over
/// them, float64. An ascent wants the gradient of the sources alone; the loss itself, with its coefficient,
/// those of parameters and importances too. `draw` tells the random draws of one step apart.
at::Tensor term_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::int64_t draw,
                     bool ascent);

/// A term of the parameters alone: the sum over the sites of one lane, `number` of `lanes` of all processes,
/// float64.
at::Tensor parameter_pass(const StepContext& step, StepLane& lane, const StepTerm& term, std::size_t number,
                          std::size_t lanes);

/// What the sum over the lanes of all processes is divided by.
double divisor(const StepContext& step, const StepTerm& term);

/// Ascents of sources that belong to this lane alone, before the loss is taken. Returns how many.
std::int64_t ascend_locally(const StepContext& step, StepLane& lane, const StepTerm& term);

}  // namespace vpd
