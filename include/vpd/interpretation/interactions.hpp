#pragma once

// Which subcomponents of an MLP's first matrix bend the same neurons at the same positions: there, reading
// them one by one is unsafe.

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/passes/batch.hpp"

namespace vpd {

/// A matrix whose outputs are what an elementwise function of an MLP reads.
struct ActivationInput {
  Activation kind = Activation::relu;
  /// silu(gate) ⊙ up: the other of the two matrices, and which of them this one is.
  std::optional<std::size_t> other;
  bool gate = false;
};
/// Nothing for a matrix that feeds none.
std::optional<ActivationInput> activation_input(const Target& target, std::size_t matrix);

/// Of row c and column c', which are subcomponents of one site, or of a gate and of what it gates. Rows and
/// columns of those that are never important are 0. All float64 [C, C'].
struct Interactions {
  std::size_t rows = 0, columns = 0;  ///< sites
  at::Tensor weight_overlap;          ///< Σ_i |U_ci| |U_c'i| / Σ_i U_ci²
  at::Tensor activation_overlap;      ///< Σ_n |g h|_nc |g h|_nc' / Σ_n (g h)²_nc
  at::Tensor strength;                ///< their product
  /// Σ_n Σ_i |∂²f_ni| |U_ci| |U_c'i| |g h|_nc |g h|_nc' / the same of c with itself, f the function between
  /// the matrices; undefined where it was not asked for.
  at::Tensor curvature;
  at::Tensor row_firings, column_firings;  ///< int64 [C]: positions with an importance above the threshold
};

/// Sums up the interactions of sites over batches.
class InteractionSums {
 public:
  struct Pair {
    std::size_t rows = 0, columns = 0;  ///< sites
  };
  InteractionSums(const Decomposition& decomposition, std::vector<Pair> pairs, double threshold,
                  bool curvature);

  void add(const Batch& batch);
  std::vector<Interactions> interactions() const;

 private:
  struct Sums {
    at::Tensor products, bends;  // [C, C']
    at::Tensor squares, own;     // [C]: of (g h)², and of what a row bends by itself
  };

  at::Tensor sizes(const LaneBatch& lane, std::size_t site) const;
  void add_bends(const LaneBatch& lane, const Pair& pair, Sums& sums) const;

  const Decomposition& d_;
  std::vector<Pair> pairs_;
  double threshold_;
  bool curvature_;
  std::vector<Sums> sums_;           // of each pair
  std::vector<at::Tensor> firings_;  // of each site, where one of the pairs has it
};

}  // namespace vpd
