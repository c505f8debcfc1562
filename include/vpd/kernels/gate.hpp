#pragma once

// The gate of a site: masks from causal importances and sources, and the masked scaling (method, sections 2
// and 4).
//
// Shapes: B rows of the batch, T positions, N = B T (n = b T + t), C subcomponents of the site.
// "real" is the type of activations (float32, float64 or bfloat16), "wide" that of importances and sources
// (float32, or float64 beside float64 activations). Matrices may be column slices of wider ones; each row is
// contiguous. Throws UsageError for tensors that are not as stated.
//
// What goes together:
//
//   sources          r and δ at a position               dL/dr, where the backward pass leaves it
//   ConstantSources  one number each                     nowhere
//   DrawnSources     from counters                       nowhere
//   ReadSources      a row of a matrix                   nowhere, SourceGradient, or SourceAscent
//   MixedSources     a row of a matrix, or from counters as ReadSources; 0 of positions that draw
//
//   the matrix       beside                              moments of an ascent by Adam
//   wide             any activations                     wide
//   compact (int16)  float32 or bfloat16 activations     bfloat16
//
//   a row met        SourceGradient                      SourceAscent
//   once             added, or stored (`overwrite`)      yes
//   several times    added                               no
//
//   routing          rows of h                           with a gradient of sources
//   everywhere, or   one for each position               nothing more
//     by bytes
//   at positions     one for each listed position        needs `places`
//
// Sources whose δ is fixed (`fixed_delta`) go with all of it, and have no gradient of δ.

#include <cstdint>
#include <optional>
#include <variant>

#include <ATen/core/Tensor.h>

#include "vpd/config/masks.hpp"
#include "vpd/kernels/ascent_rule.hpp"
#include "vpd/kernels/late_value.hpp"

namespace vpd {

/// The same at every position.
struct ConstantSources {
  double r = 0.0;
  double delta = 0.0;
};

/// r of each element and δ of each position are drawn from counters: from U(0,1), or 0 and 1 with equal
/// chances.
struct DrawnSources {
  SourceDistribution distribution = SourceDistribution::uniform;
  LateKey key;
  std::uint32_t site = 0;      ///< index of the site, part of the counter
  std::int64_t first_row = 0;  ///< number of row 0 in the global batch, part of the counter
};

/// The backward pass adds dL/dr.
struct SourceGradient {
  at::Tensor sum;          ///< wide, of the sources' shape
  double scale = 1.0;      ///< dL/dr is multiplied by this before it is added
  bool overwrite = false;  ///< store instead of add: only where every row is met once
};

/// The backward pass takes one step of an ascent along dL/dr, and keeps no gradient: only where every row is
/// met once.
struct SourceAscent {
  AscentRule rule;
  at::Tensor m, v;  ///< Adam's moments, like the sources, bfloat16 of compact ones, and with their strides;
                    ///< undefined for sign steps
  double scale = 1.0;  ///< dL/dr is multiplied by this first
};

/// Where dL/dr goes; monostate: nowhere.
using SourceDestination = std::variant<std::monostate, SourceGradient, SourceAscent>;

/// Sources of a matrix. Position (b, t) reads row ((b + first_batch) % batch_rows) * time_rows + t %
/// time_rows, whose last column is δ.
struct ReadSources {
  at::Tensor values;  ///< wide [batch_rows * time_rows, C + 1], or compact: int16 multiples of 1/32767
  std::int64_t time_length = 1;  ///< T
  std::int64_t first_batch = 0;  ///< index in the source's batch of this pass's first batch row
  std::int64_t batch_rows = 1;   ///< B, the number of sources, or 1
  std::int64_t time_rows = 1;    ///< at least T, of which the first T are read, or 1
  SourceDestination destination{};
};

/// Read at some positions and drawn from U(0,1) at the others.
struct MixedSources {
  ReadSources read;
  DrawnSources drawn;
  at::Tensor is_read;  ///< uint8 [N], 1 where they are read
};

/// The sources of one site in one forward pass.
struct GateSources {
  std::variant<ConstantSources, DrawnSources, ReadSources, MixedSources> from;
  std::optional<double> fixed_delta{};  ///< δ at every position, whatever `from` says

  /// What is read from a matrix; null where nothing is.
  const ReadSources* read() const {
    if (const auto* mixed = std::get_if<MixedSources>(&from)) return &mixed->read;
    return std::get_if<ReadSources>(&from);
  }
  bool wants_gradient() const {
    return read() && !std::holds_alternative<std::monostate>(read()->destination);
  }
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
