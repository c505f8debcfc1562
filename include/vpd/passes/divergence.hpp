#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/passes/clean_pass.hpp"

namespace vpd {

/// The rest of a masked forward pass, from `hidden` [N, d] on (Target::hidden() under `executor`), and the
/// divergence, of a kind, of its output from the clean one (method, section 5): Σ over compared positions,
/// zero-dimensional float64; for `mse` a position's value is the mean over its entries. Where `seed` is not
/// 0, the gradient of `seed` times that goes back through the graph of `hidden`.
at::Tensor divergence_from_hidden(const Decomposition& decomposition, const CleanPass& clean,
                                  const at::Tensor& hidden, Executor& executor, double seed, Divergence kind);

/// The same of an output [N, V] that is there already, without gradients.
at::Tensor divergence_of_output(Divergence kind, const at::Tensor& target, const at::Tensor& output);

/// Mean squared error of what the sites gave (method, section 5, `hidden_acts_recon`): per position the mean
/// over all entries of all sites, summed over positions, zero-dimensional float64. clean and masked: per site
/// [N, d_out]; differences are taken in type `wide`. Where `seed` is not 0, the gradient of `seed` times that
/// goes back through the graph of the masked outputs.
at::Tensor squared_error_of_sites(const std::vector<at::Tensor>& clean, const std::vector<at::Tensor>& masked,
                                  at::ScalarType wide, double seed);

}  // namespace vpd
