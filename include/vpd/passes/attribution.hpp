#pragma once

#include <cstdint>
#include <functional>

#include <ATen/core/Tensor.h>

#include "vpd/passes/clean_pass.hpp"

namespace vpd {

/// dF/d(output) of some F of the target's output [N, V], in its type: what attributions are of. A logit at a
/// position is a matrix of zeros with a one.
using AttributionRoot = std::function<at::Tensor(const at::Tensor& output)>;

/// The gradient attribution to F of every subcomponent at every position (AttributionExecutor), with its
/// sign, written into scores, wide [N, Σ C]. A forward and a backward pass of the target.
void attribute(const Decomposition& decomposition, const CleanPass& clean,
               const BoundSubcomponents& components, const AttributionRoot& root, const at::Tensor& scores);

/// Importance of every subcomponent at every position as APD takes it (method, section 5,
/// `topk_attribution_recon`): the magnitude of its gradient attribution to the sum of squares of the target's
/// output.
void attribute_squared_norm(const Decomposition& decomposition, const CleanPass& clean,
                            const BoundSubcomponents& components, const at::Tensor& scores);

/// Throws ConfigError where k subcomponents a position are none in all N positions of a batch, or more than
/// there are; `place` names the key in the error.
void check_kept(double k, std::int64_t N, const Sites& sites, const std::string& place);

/// How many of N positions' subcomponents a batch keeps: k a position, floor(k N) in all, but at least one,
/// which a small last batch of an evaluation may need, and no more than there are.
std::int64_t kept_count(double k, std::int64_t N, const Sites& sites);

/// Scores [N, Σ C] of a whole batch in place: 1 for the `count` largest of all of them, 0 for the rest.
void keep_largest(const at::Tensor& scores, std::int64_t count);

}  // namespace vpd
