#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/sites.hpp"
#include "vpd/decomposition/subcomponents.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Applies each weight as it stands, and in the backward pass from some F of what the pass gives takes the
/// gradient attribution of every subcomponent (method, section 5, on the clean forward): with y [N, d_out]
/// what a site gives and G = ∂F/∂y, that of subcomponent c at position n is
///   (x V)_nc (G Uᵀ)_nc,
/// with the row V[token] for x V of an embedding site: the change of F along the part of y that the
/// subcomponent makes. Gradients pass through every weight.
class AttributionExecutor final : public ForwardingExecutor {
 public:
  /// scores: wide [N, Σ C], into which the backward pass writes attributions, with their signs; what it does
  /// not reach stays as it was.
  AttributionExecutor(const Sites& sites, const BoundSubcomponents& components, at::Tensor scores)
      : sites_(sites), components_(components), scores_(std::move(scores)) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override;
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override;

 private:
  /// Of a site's subcomponents.
  at::Tensor scores_of(std::size_t site) const { return sites_.columns(scores_, site); }

  const Sites& sites_;
  const BoundSubcomponents& components_;
  at::Tensor scores_;
};

}  // namespace vpd
