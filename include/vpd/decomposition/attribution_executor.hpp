#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/sites.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Applies each weight as it stands, like PlainExecutor, and in the backward pass from some F of the target's
/// output takes the gradient attribution of every subcomponent (method, section 5, on the clean forward):
/// with y [N, d_out] what a site gives and G = ∂F/∂y, that of subcomponent c at position n is
///   (x V)_nc (G Uᵀ)_nc,
/// with the row V[token] for x V of an embedding site: the change of F along the part of y that the
/// subcomponent makes. Gradients pass through every weight.
class AttributionExecutor final : public Executor {
 public:
  /// components: V [d_in, C] and U [C, d_out] of site i at 2 i and 2 i + 1. scores: wide [N, Σ C], into which
  /// the backward pass writes |attribution|.
  AttributionExecutor(const Sites& sites, const std::vector<Parameter>& components, at::Tensor scores)
      : sites_(sites), components_(components), scores_(std::move(scores)) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override;
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override;

 private:
  /// Of a site's subcomponents.
  at::Tensor scores_of(std::size_t site) const {
    return scores_.narrow(1, sites_[site].offset, sites_[site].C);
  }

  const Sites& sites_;
  const std::vector<Parameter>& components_;
  at::Tensor scores_;
};

}  // namespace vpd
