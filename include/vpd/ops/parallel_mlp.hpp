#pragma once

// C small networks side by side, one for each subcomponent (method, section 3: kinds `mlp` and `vector_mlp`).
//
// Shapes: N positions, C networks, h_1 ... h_L widths of the hidden layers (at least one). Everything is in
// the type of matrix products.

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/ops/differentiable.hpp"

namespace vpd {

/// One layer of all C networks.
struct ParallelLayer {
  Parameter weight;  ///< [C, d_in, d_out]
  Parameter bias;    ///< [C, d_out]
};

/// What the networks read.
enum class ParallelInput {
  column,  ///< x [N, C]: network c its own column; the first d_in is 1
  row      ///< x [N, d_in]: every network the whole row, without a gradient
};

/// z [N, C]: exact GELU after each layer but the last, which has one output. No activation is kept for the
/// backward pass, which computes them again, some networks at a time. Throws UsageError for layers or an x
/// that do not fit.
at::Tensor parallel_mlp(const at::Tensor& x, const std::vector<ParallelLayer>& layers, ParallelInput input);

/// The most elements, in the type of matrix products, that the backward pass has beside its inputs and
/// outputs.
std::int64_t parallel_mlp_workspace(const at::Device& device, std::int64_t N, std::int64_t C,
                                    std::int64_t d_in, const std::vector<std::int64_t>& hidden_dims,
                                    ParallelInput input);

}  // namespace vpd
