#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/decomposition/sites.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// What one site needs in one masked forward pass, and where its backward pass leaves gradients.
struct SitePass {
  Parameter V;  ///< [d_in, C] in the type of matrix products; frozen where its gradient is undefined
  Parameter U;  ///< [C, d_out], likewise
  at::Tensor importance;           ///< wide, or in the type of activations, [N, C]: z or g
  at::Tensor importance_gradient;  ///< wide [N, C], added to; undefined: not wanted
  GateSources sources;
  GateRouting routing;  ///< of listed positions with their places
  bool masked = true;   ///< false: the target's own weight at every position
};

/// The masked application of a site (method, section 2), the cheap form: ((x V) ⊙ (m - δ)) U + δ · (x Wᵀ) +
/// bias; where routing is off, x Wᵀ + bias. x [N, d_in] -> [N, d_out] in the type of matrix products. Where
/// routing lists positions, products with V and U are made of their rows alone.
at::Tensor apply_masked(const at::Tensor& x, const Matrix& matrix, const SitePass& pass);

/// The same of an embedding site, for tokens [N] (int64): ((V[token]) ⊙ (m - δ)) U + δ · W[token], with rows
/// of V and of the table where a product with one-hot vectors would be. Returns [N, d], wide. Routing lists
/// no positions.
at::Tensor apply_masked_embedding(const at::Tensor& tokens, const Matrix& matrix, const SitePass& pass);

/// Applies sites masked, and leaves everything else to another executor, or as it stands.
class MaskedExecutor final : public ForwardingExecutor {
 public:
  /// passes: one per site. `keep_outputs` keeps each site's output, on the graph.
  MaskedExecutor(const Sites& sites, const std::vector<SitePass>& passes, bool keep_outputs = false,
                 Executor* inner = nullptr)
      : ForwardingExecutor(inner),
        sites_(sites),
        passes_(passes),
        keep_outputs_(keep_outputs),
        outputs(keep_outputs ? sites.size() : 0) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override;
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override;

 private:
  const Sites& sites_;
  const std::vector<SitePass>& passes_;
  bool keep_outputs_;

 public:
  std::vector<at::Tensor> outputs;  ///< per site [N, d_out], if kept
};

}  // namespace vpd
