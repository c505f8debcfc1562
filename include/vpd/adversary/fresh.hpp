#pragma once

#include <ATen/core/Tensor.h>

#include "vpd/config/adversary.hpp"
#include "vpd/passes/sources.hpp"

namespace vpd {

/// New sources for one batch of B rows of length T, as a fresh adversary starts (method, section 6).
struct FreshSources {
  SourceLayout layout;
  at::Tensor values;    ///< wide [R, columns of the layout]
  at::Tensor gradient;  ///< same shape
};
FreshSources start_fresh(const FreshAdversaryConfig& config, const Sites& sites, std::int64_t B,
                         std::int64_t T, const LateKey& key, const Numerics& numerics);

/// One step along the gradient's sign, clamped to [0, 1]; the gradient is zeroed for the next.
void step_fresh(const FreshSources& sources, double step_size);

/// Sources for batch rows from first_batch on, of length T. dL/dr is added to `gradient`, of the sources'
/// shape, unless it is undefined.
SourceOf use_fresh(const FreshSources& sources, std::int64_t first_batch, std::int64_t T,
                   const at::Tensor& gradient = {});

}  // namespace vpd
