#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/prompts.hpp"
#include "vpd/decomposition/decomposition.hpp"
#include "vpd/machine/lanes.hpp"

namespace vpd {

/// What the target's clean forward pass gives on one batch (of one lane).
struct CleanPass {
  at::Tensor input;   ///< tokens [B, T] int64, or features [B, n]
  at::Tensor output;  ///< [P, V]: logits, for a language model, of the positions compared
  ComparedPositions compared = ComparedPositions::all;
  std::vector<at::Tensor> inputs;   ///< per site [N, d_in]; of an embedding site tokens [N] (int64)
  std::vector<at::Tensor> outputs;  ///< per site [N, d_out], on request
  PassStart start;                  ///< where masked passes begin: at the first block that has a site

  std::int64_t B() const { return rows_of(input); }
  std::int64_t T() const { return length_of(input); }
  std::int64_t N() const { return B() * T(); }
  /// Positions at which outputs are compared: N, or each row's last, B.
  std::int64_t P() const { return compared == ComparedPositions::last ? B() : N(); }
  /// Rows of x [N, …] at these.
  at::Tensor at_compared(const at::Tensor& x) const;
};

/// Runs the target on an input (on the run's device) without gradients.
CleanPass clean_pass(const Decomposition& decomposition, const at::Tensor& input, bool keep_outputs = false,
                     ComparedPositions compared = ComparedPositions::all);

/// Of these rows of an input, which may lie on another device.
CleanPass clean_pass(const Decomposition& decomposition, const at::Tensor& input, const Range& rows,
                     bool keep_outputs = false, ComparedPositions compared = ComparedPositions::all);

/// Causal importances of all sites side by side, columns in the sites' order.
struct Importance {
  at::Tensor z;  ///< [N, Σ C] in the type of activations, or wide: pre-activations, on the graph of the CI
                 ///< function if anything that it reads trains
  at::Tensor lower;  ///< wide [N, Σ C]: lower-leaky, detached. Masked passes clamp z themselves
};

/// parameters, components: ParameterSet::bind() of the decomposition's ci_parameters and components. Some
/// kinds read V, and their gradient reaches it where it is bound to a buffer. `lower` is left undefined where
/// nobody wants it. `ready`: as in forward_notifying().
Importance causal_importance(const Decomposition& decomposition, const CleanPass& clean,
                             const std::vector<Parameter>& parameters, const BoundSubcomponents& components,
                             bool want_lower = true, const GradientsReady& ready = {});

}  // namespace vpd
