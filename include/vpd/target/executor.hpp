#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/ops/differentiable.hpp"

namespace vpd {

/// One weight matrix of a target: y = x Wᵀ + bias. An embedding is one whose x is one-hot, so that y is a
/// column of W: d_in is the vocabulary, d_out the width.
struct Matrix {
  std::string name;        ///< path in the target, such as h.0.attn.q_proj
  std::size_t index = 0;   ///< in Target::matrices()
  bool in_block = true;    ///< false for head and embedding: a site only where it is named in full
  bool embedding = false;  ///< read by token ids; its weight, wide, is the transposed table [vocabulary, d]
  Parameter weight;        ///< [d_out, d_in], in the type of matrix products
  Parameter bias;          ///< [d_out], or an undefined value
  at::Tensor master;  ///< the weight in float32 (float64): what the Δ-component and the faithfulness loss are
                      ///< made of

  std::int64_t d_out() const { return weight.value.size(0); }
  std::int64_t d_in() const { return weight.value.size(1); }

  /// Of an embedding: its rows [vocabulary, d].
  Parameter table() const {
    return {weight.value.t(), weight.gradient.defined() ? weight.gradient.t() : at::Tensor()};
  }
};

/// Attention of one block: q [N, K d_head], k and v [N, K_kv d_head] of B sequences, as attention() of
/// ops/differentiable.hpp takes them.
struct AttentionCall {
  std::size_t block = 0;
  at::Tensor q, k, v;
  std::int64_t B = 1;
  std::int64_t heads = 1, key_heads = 1;
  bool causal = true;
};

/// Where a norm stands in its block. `last` is the one behind all blocks.
enum class NormPlace { attention, query, key, mlp, last };

struct NormCall {
  std::size_t block = 0;  ///< of `last`: the number of blocks
  NormPlace place = NormPlace::attention;
  const Parameter* weight = nullptr;  ///< [d]
  const Parameter* bias = nullptr;    ///< [d], of LayerNorm
  double eps = 0.0;
  at::ScalarType output = at::kFloat;  ///< of the result
};

/// The elementwise function between two matrices of an MLP. silu is that of gated ones: silu(gate) ⊙ up.
enum class Activation { gelu, gelu_tanh, relu, silu };

/// Computes a target's forward pass, part by part. Who it is decides whether a weight is applied as it
/// stands, recorded, masked, attributed or edited, and whether an attention pattern, a norm or an activation
/// function is seen, frozen or patched; the target never knows. What an executor does not override happens as
/// the target has it.
class Executor {
 public:
  virtual ~Executor() = default;

  /// x [N, d_in] -> [N, d_out], in the type of matrix products.
  virtual at::Tensor linear(const Matrix& matrix, const at::Tensor& x);

  /// tokens [N] (int64) -> rows [N, d] of an embedding, wide.
  virtual at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens);

  /// -> [N, K d_head].
  virtual at::Tensor attention(const AttentionCall& call);

  /// x [N, d] -> its norm in the type `call.output`: RMSNorm, or LayerNorm where there is a bias.
  virtual at::Tensor norm(const NormCall& call, const at::Tensor& x);

  /// The residual stream x [N, d] takes `added`, and is normalised for its next reader: x + added, and
  /// norm() of that.
  virtual AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added);

  /// φ(x) of each entry, for `kind` any but silu, in the type of x; and silu(gate) ⊙ up of a gated MLP.
  virtual at::Tensor activation(Activation kind, const at::Tensor& x);
  virtual at::Tensor gated(const at::Tensor& gate, const at::Tensor& up);

  /// Learned positions [T, d], wide, that are about to be added to the embedding's rows.
  virtual at::Tensor positions(const at::Tensor& rows) { return rows; }

  /// The residual stream [N, d], wide, that a block reads, or, behind the last block, what the last norm
  /// does; it may be changed, or looked at. A pass can begin with it (PassStart).
  virtual at::Tensor residual(std::size_t /*block*/, const at::Tensor& x) { return x; }
};

/// Applies everything as it stands.
class PlainExecutor final : public Executor {};

/// Hands everything on to another executor, for those that change or watch a part of it: so they compose.
class ForwardingExecutor : public Executor {
 public:
  /// Without `inner` everything happens as it stands.
  explicit ForwardingExecutor(Executor* inner = nullptr) : inner_(inner ? *inner : plain_) {}
  ForwardingExecutor(const ForwardingExecutor&) = delete;
  ForwardingExecutor& operator=(const ForwardingExecutor&) = delete;

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override { return inner_.linear(matrix, x); }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    return inner_.embedding(matrix, tokens);
  }
  at::Tensor attention(const AttentionCall& call) override { return inner_.attention(call); }
  at::Tensor norm(const NormCall& call, const at::Tensor& x) override { return inner_.norm(call, x); }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    return inner_.add_norm(call, x, added);
  }
  at::Tensor activation(Activation kind, const at::Tensor& x) override { return inner_.activation(kind, x); }
  at::Tensor gated(const at::Tensor& gate, const at::Tensor& up) override { return inner_.gated(gate, up); }
  at::Tensor positions(const at::Tensor& rows) override { return inner_.positions(rows); }
  at::Tensor residual(std::size_t block, const at::Tensor& x) override { return inner_.residual(block, x); }

 protected:
  Executor& inner() { return inner_; }

 private:
  PlainExecutor plain_;
  Executor& inner_;
};

/// Keeps what chosen matrices read and, on request, gave, and the residual stream that one block reads.
class RecordingExecutor final : public ForwardingExecutor {
 public:
  /// slot[index of a matrix]: where its input is kept, or -1.
  RecordingExecutor(const std::vector<int>& slot, std::size_t slots, bool keep_outputs,
                    std::optional<std::size_t> block = std::nullopt, Executor* inner = nullptr)
      : ForwardingExecutor(inner),
        slot_(slot),
        keep_outputs_(keep_outputs),
        block_(block),
        inputs(slots),
        outputs(keep_outputs ? slots : 0) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    return keep(matrix, x, inner().linear(matrix, x));
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    return keep(matrix, tokens, inner().embedding(matrix, tokens));
  }
  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    at::Tensor stream = inner().residual(block, x);
    if (block_ == block) residual_stream = stream;
    return stream;
  }

 private:
  at::Tensor keep(const Matrix& matrix, const at::Tensor& x, at::Tensor y) {
    if (const int slot = slot_[matrix.index]; slot >= 0) {
      inputs[static_cast<std::size_t>(slot)] = x;
      if (keep_outputs_) outputs[static_cast<std::size_t>(slot)] = y;
    }
    return y;
  }

  const std::vector<int>& slot_;
  bool keep_outputs_;
  std::optional<std::size_t> block_;

 public:
  std::vector<at::Tensor> inputs;   ///< per slot [N, d_in]; of an embedding tokens [N]
  std::vector<at::Tensor> outputs;  ///< per slot [N, d_out], if kept
  at::Tensor residual_stream;       ///< [N, d], of that block
};

}  // namespace vpd
