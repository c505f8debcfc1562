#pragma once

// Differentiable operations that targets and causal-importance functions are written in. Each records one
// node in LibTorch's autograd graph for its activations. Gradients of parameters do not travel through the
// graph: a node adds them to the parameter's own buffer, so that nothing is summed, sliced or allocated on
// the way.
//
// Shapes: B batch, T positions, N = B T rows, K heads. Everything is [N, width] with contiguous rows. Throws
// UsageError for tensors that are not as stated.

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/kernels/rotary.hpp"

namespace vpd {

/// A weight as the operations see it. The gradient buffer is added to in the backward pass; undefined: the
/// weight is frozen.
struct Parameter {
  at::Tensor value;     ///< in the type of matrix products
  at::Tensor gradient;  ///< float32 (float64 for float64), same shape
  bool overwrites_gradient =
      false;  ///< the one linear() that reads it stores its gradient instead of adding to what is there
  class DeferredGradients* deferred = nullptr;  ///< where that linear() leaves what its gradient is made of
};

/// Gradients of weights that several lanes read, put off. In its backward pass each lane leaves, in a list of
/// its own, what they are made of, and when all have, each lane makes some rows of every gradient from what
/// all left. So lanes need no buffer each, and nothing is added up over them.
class DeferredGradients {
 public:
  /// The gradient dyᵀ x of weight, and Σ dy of bias: x [N, d_in] and dy [N, d_out].
  void add(const Parameter& weight, const Parameter& bias, at::Tensor x, at::Tensor dy);
  void clear() { products_.clear(); }

  /// Makes part `part` of as many as there are lists. All have products of the same weights in the same
  /// order, as backward passes of one expression leave them.
  static void make(const std::vector<const DeferredGradients*>& lists, std::size_t part);

 private:
  struct Product {
    Parameter weight, bias;
    at::Tensor x, dy;
  };
  std::vector<Product> products_;
};

/// The parameter's value as part of LibTorch's graph, for expressions that no operation below covers: what
/// reaches it in the backward pass is added to its gradient buffer. A frozen one is a constant.
at::Tensor on_graph(const Parameter& parameter);

/// An input of linear() that the backward pass makes again instead of keeping it: once for all its readers,
/// and the last of them lets go of it. Copies share the tensor.
class Recomputed {
 public:
  /// Nothing is made again.
  Recomputed() = default;
  /// `make` has the input's very values out of what the graph keeps anyway; `readers` is how many calls of
  /// linear() get this object.
  Recomputed(int readers, std::function<at::Tensor()> make);

  explicit operator bool() const { return state_ != nullptr; }
  at::Tensor take() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// x Wᵀ + bias: x [N, d_in], weight [d_out, d_in], bias [d_out] or an undefined value. Returns [N, d_out] in
/// the weight's type. x is kept for the weight's gradient unless it can be made again.
at::Tensor linear(const at::Tensor& x, const Parameter& weight, const Parameter& bias = {},
                  const Recomputed& again = {});

/// Rows of `weight` [V, d] at tokens [N] (int64). Returns [N, d].
at::Tensor embedding(const at::Tensor& tokens, const Parameter& weight);

/// RMSNorm of each row of x [N, d] in the dtype `output`; weight [d], wide, 1 where it is undefined.
at::Tensor rms_norm(const at::Tensor& x, const Parameter& weight, double eps, at::ScalarType output);

struct AddedNorm {
  at::Tensor sum;   ///< x + added, in the dtype of x
  at::Tensor norm;  ///< its rms_norm, of dtype `output`
};
/// A residual stream x [N, d] takes `added` (of dtype `output`, no wider than x) and is normalised for its
/// next reader: in one pass, and in one back, where a sum, a norm, a sum of gradients and a conversion would
/// be one each.
AddedNorm add_rms_norm(const at::Tensor& x, const at::Tensor& added, const Parameter& weight, double eps,
                       at::ScalarType output);

/// LayerNorm of each row in the dtype `output`: x [N, d], float32 (float64), weight and bias [d] of its type,
/// which are frozen here.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps,
                      at::ScalarType output);

/// silu(gate) ⊙ up, both [N, d] of one dtype, as is the result: what lies between the matrices of a gated
/// MLP.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

/// Rotary position embedding of x [N, K d_head], in its dtype.
at::Tensor rotary(const at::Tensor& x, const RotaryTable& table);

/// Softmax attention with scale 1 / sqrt(d_head): q [N, K d_head], k and v [N, K_kv d_head] with K a multiple
/// of K_kv (each key head serves K / K_kv neighbouring query heads), all of one dtype. Returns [N, K d_head]
/// of it.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t B,
                     std::int64_t heads, std::int64_t key_heads, bool causal);

/// Whether attention() keeps its probabilities, [B, K, T, T], for the backward pass instead of computing them
/// again.
bool attention_keeps_probabilities(const at::Device& device, at::ScalarType type, std::int64_t T);

/// GELU, exact or in its tanh form, of any shape and dtype, like the result.
at::Tensor gelu(const at::Tensor& x, bool tanh_form);

/// max(x, 0), likewise.
at::Tensor relu(const at::Tensor& x);

}  // namespace vpd
