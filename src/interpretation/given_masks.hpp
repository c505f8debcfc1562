#pragma once

#include <ATen/ATen.h>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Masks of all columns [N, Σ C] and Δ-masks [N, L].
struct ColumnMasks {
  at::Tensor columns, delta;
};

/// Applies sites under given masks, as the method writes it: ((x V) ⊙ (m - δ)) U + δ x Wᵀ + bias. Gradients
/// go through the masks.
class GivenMasks final : public ForwardingExecutor {
 public:
  GivenMasks(const Decomposition& d, const ColumnMasks& masks) : d_(d), masks_(masks) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override;
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override;

 private:
  at::Tensor masked(std::size_t i, const at::Tensor& h) const;

  const Decomposition& d_;
  const ColumnMasks& masks_;
};

}  // namespace vpd
