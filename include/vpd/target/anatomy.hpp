#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/rotary.hpp"
#include "vpd/target/architecture.hpp"
#include "vpd/target/executor.hpp"

// Which of a target's matrices and vectors play which part. Matrices are numbers in Target::matrices(); norms
// point into the target, which must outlive them.

namespace vpd {

/// RMSNorm, or LayerNorm where there is a bias. Without a weight there is no norm.
struct NormParts {
  const Parameter* weight = nullptr;  ///< [width]
  const Parameter* bias = nullptr;    ///< [width]
  double eps = 0.0;

  explicit operator bool() const { return weight != nullptr; }
};

/// z of query position t and key position u = q_t · k_u / √(head width), after what stands below.
struct AttentionParts {
  NormParts norm;  ///< in front of q, k and v
  std::size_t q = 0, k = 0, v = 0, o = 0;
  AttentionShape shape;
  NormParts q_norm, k_norm;  ///< of each head [head width], before the rotation
  /// The rotation of queries and keys at positions 0 to T - 1; empty: none.
  std::function<RotaryTable(std::int64_t T)> rotary;
  at::Tensor added_positions;  ///< [longest, width] added to q and to k; undefined: none
};

/// out(φ(in x)), or, where there is a gate, out(silu(gate x) ⊙ in x).
struct MlpParts {
  NormParts norm;
  std::optional<std::size_t> gate;
  std::size_t in = 0, out = 0;
  Activation activation = Activation::relu;
};

/// x += attention, then x += MLP.
struct BlockParts {
  std::optional<AttentionParts> attention;
  std::optional<MlpParts> mlp;
};

struct Anatomy {
  std::size_t embedding = 0;  ///< the first matrix; of a model of features an ordinary one
  at::Tensor positions;       ///< [longest, d], learned, added to the embedding's rows; undefined: none
  std::vector<BlockParts> blocks;
  NormParts last;
  std::size_t head = 0;
};

}  // namespace vpd
