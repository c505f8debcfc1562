#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/training.hpp"
#include "vpd/kernels/adamw.hpp"
#include "vpd/machine/lanes.hpp"
#include "vpd/ops/parameter_set.hpp"

namespace vpd {

/// AdamW's state for one parameter set, as flat as the parameters.
struct AdamWState {
  at::Tensor m, v;
  std::int64_t count = 0;  ///< updates made

  static AdamWState for_parameters(const ParameterSet& parameters);
};

/// The norm of a gradient, and what clipping makes of it; both zero-dimensional on the run's device, so that
/// nothing waits.
struct ClippedNorm {
  at::Tensor norm;     ///< float64, before clipping
  at::Tensor divisor;  ///< clip_divisor() of it
};

/// float32, what a gradient is divided by: 1 / min(1, limit / (norm + 1e-6)). Undefined without a limit.
at::Tensor clip_divisor(const at::Tensor& norm, std::optional<double> limit);

/// Adds gradients[1], gradients[2], ... (one buffer per lane, flat and wide like the parameters) to
/// gradients[0], each lane a stretch of it.
void sum_over_lanes(const std::vector<at::Tensor>& gradients, Lanes& lanes);

/// The same, and takes the norm of the sum.
ClippedNorm reduce_gradients(const std::vector<at::Tensor>& gradients, std::optional<double> limit,
                             Lanes& lanes);

/// One AdamW update of the masters and their narrow copies, each lane a stretch of them. Where
/// `skip` (float32, zero-dimensional, undefined: never) is not 0 nothing changes. `divisor`: as in
/// ClippedNorm. The state's count is left to the caller.
void update(const ParameterSet& parameters, const at::Tensor& gradient, const AdamWState& state,
            const AdamWConfig& config, const AdamWNumbers& numbers, const at::Tensor& divisor,
            const at::Tensor& skip, Lanes& lanes);

}  // namespace vpd
