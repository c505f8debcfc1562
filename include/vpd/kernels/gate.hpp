#pragma once

// The gate of a site: masks from causal importances and sources, and the masked scaling (method, sections 2
// and 4).
//
// Shapes: B rows of the batch, T positions, N = B T (n = b T + t), C subcomponents of the site.
// "real" is the type of activations (float32, float64 or bfloat16), "wide" that of importances and sources
// (float32, or float64 beside float64 activations). Matrices may be column slices of wider ones; each row is
// contiguous. Throws UsageError for tensors that are
// not as stated.

#include <cstdint>
#include <optional>
#include <utility>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/ascent_rule.hpp"
#include "vpd/kernels/late_value.hpp"
#include "vpd/kernels/source_kind.hpp"

namespace vpd {

/// How sources that are read climb in a backward pass.
struct SourceAscent {
  AscentRule rule;
  at::Tensor m, v;  ///< Adam's moments, like the sources, bfloat16 of compact ones, and with their strides;
                    ///< undefined for sign steps
};

/// The sources of one site in one forward pass. Kinds uniform and binomial draw them, tensor reads them, and
/// mixed does either.
struct GateSources {
  SourceKind kind = SourceKind::constant;
  double value = 0.0;          ///< constant: r
  double delta_value = 0.0;    ///< constant: δ. Other kinds: unused
  bool delta = true;           ///< false: no Δ-component, δ = 0 whatever the kind
  LateKey key;                 ///< drawn
  std::uint32_t site = 0;      ///< drawn: index of the site, part of the counter
  std::int64_t first_row = 0;  ///< drawn: number of row 0 in the global batch, part of the counter
  at::Tensor from_matrix;      ///< mixed: uint8 [N], 1 where `sources` are read and 0 where r is drawn
  at::Tensor sources;          ///< read: wide [R, C + 1], or, where that is float32, compact: int16
                               ///< multiples of 1/32767; row of position (b, t) is ((b + first_batch) %
                               ///< batch_rows) * time_rows + t % time_rows
  at::Tensor gradient;         ///< read: where the backward pass adds dL/dr, wide of that shape, or undefined
  double gradient_scale = 1.0;         ///< dL/dr is multiplied by this before it is added
  bool overwrite_gradient = false;     ///< store instead of add: only where every entry is met exactly once
  std::optional<SourceAscent> ascent;  ///< read: in place of storing dL/dr, the backward pass takes one step
                                       ///< of an ascent along it; only where every entry is met exactly once
  std::int64_t time_length = 1;        ///< read: T
  std::int64_t first_batch = 0;        ///< read: index in the source's batch of this pass's first batch row
  std::int64_t batch_rows = 1;         ///< read: B, the number of sources, or 1
  std::int64_t time_rows = 1;          ///< read: T or 1

  bool wants_gradient() const { return gradient.defined() || ascent.has_value(); }
};

/// Where a site is masked: everywhere, where a byte says so, or at listed positions. Of listed ones alone
/// there are rows of h, of what is gated, of the scale and of their gradients; importances and sources have
/// one for every position all the same.
struct GateRouting {
  GateRouting(at::Tensor masked_where = {}) : masked(std::move(masked_where)) {}  // NOLINT: a tensor is one

  at::Tensor masked;     ///< uint8 [N], 1: masked here. Undefined: everywhere, or at `positions`
  at::Tensor positions;  ///< int32 [M], the position of each row, none twice; -1: of none, and it comes out 0
  at::Tensor places;  ///< int32 [N], the row of each position, or -1; where gradients of sources are wanted
};

struct GateOutput {
  at::Tensor gated;  ///< real [N, C], or [M, C] of listed positions: h ⊙ (m - δ), 0 where routing is off
  at::Tensor scale;  ///< wide [N] or [M]: δ, 1 where routing is off. Undefined where it is 0 everywhere
};

/// h real [N, C] or [M, C]: inner activations x V. importance wide or real [N, C]: z or g, since what is read
/// is clamped to [0, 1], the value of the lower-leaky squashing: no one needs to store that.
GateOutput gate_forward(const at::Tensor& h, const at::Tensor& importance, const GateSources& sources,
                        const GateRouting& routing);

struct GateGradients {
  at::Tensor h;      ///< like h: dL/dh
  at::Tensor gated;  ///< like h: the forward's output again, for the gradient of U. Undefined if not wanted
};

/// Backward of gate_forward. gradient like h: dL/d(gated). scale_gradient like the scale: dL/d(scale), or
/// undefined where no gradient of δ is wanted. importance_gradient wide [N, C]: dL/dg (of the clamped value)
/// is added to it, unless undefined. dL/dr goes where `sources` says; with an ascent the sources themselves
/// are overwritten, those whose position is not masked or draws its own along a gradient of 0.
GateGradients gate_backward(const at::Tensor& gradient, const at::Tensor& h, const at::Tensor& importance,
                            const GateSources& sources, const GateRouting& routing,
                            const at::Tensor& scale_gradient, const at::Tensor& importance_gradient,
                            bool want_gated);

}  // namespace vpd
