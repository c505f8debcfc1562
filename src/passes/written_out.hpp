#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {

/// What masks one site in one pass of the reference: [N, C] and [N, 1], on the graph or not.
struct WrittenOutMask {
  at::Tensor mask;
  at::Tensor delta;
};

/// Masked forward passes of a float64 decomposition as the method writes them, with the Δ matrix,
///   y = ((x V) ⊙ m) U + δ x (W - (V U)ᵀ)ᵀ + bias,
/// differentiated by LibTorch's autograd: the reference of every loss that is made of them.
class WrittenOut {
 public:
  WrittenOut(const Decomposition& decomposition, const CleanPass& clean, const at::Tensor& importance);

  struct Pass {
    at::Tensor output;                ///< [P, V], at the positions compared
    std::vector<at::Tensor> outputs;  ///< per site [P, d_out]
  };
  /// routing uint8 [L, N] or undefined: masked everywhere. only: the one site that is masked, or -1.
  Pass run(const std::function<WrittenOutMask(std::size_t)>& mask_of, const at::Tensor& routing = {},
           int only = -1) const;

  /// m = g + (1 - g) r of a site, r [N, C] or a number.
  at::Tensor mask(std::size_t site, const at::Tensor& r) const;
  at::Tensor g(std::size_t site) const;

  /// Mean over positions of KL(softmax(target) ‖ softmax(prediction)); of the squared error, a mean over
  /// entries.
  at::Tensor kl(const Pass& pass) const;
  at::Tensor squared_error(const Pass& pass) const;
  /// The same for what the sites gave: all their entries alike. Needs a clean pass that kept outputs.
  at::Tensor squared_error_of_sites(const Pass& pass) const;

  std::vector<at::Tensor> V, U;  ///< leaves, one per site
  at::Tensor importance;         ///< leaf [N, Σ C]

 private:
  const Decomposition& d_;
  CleanPass clean_;
};

}  // namespace vpd
