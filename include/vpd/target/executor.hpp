#pragma once

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

/// Applies a target's weight matrices. Who it is decides whether a weight is applied as it stands, recorded,
/// masked, attributed or edited; the target never knows.
class Executor {
 public:
  virtual ~Executor() = default;

  /// x [N, d_in] -> [N, d_out], in the type of matrix products.
  virtual at::Tensor linear(const Matrix& matrix, const at::Tensor& x) = 0;

  /// tokens [N] (int64) -> rows [N, d] of an embedding, wide. As it stands unless an executor says otherwise.
  virtual at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) {
    return vpd::embedding(tokens, matrix.table());
  }
};

/// Applies each weight as it stands.
class PlainExecutor final : public Executor {
 public:
  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    return vpd::linear(x, matrix.weight, matrix.bias);
  }
};

/// Applies each weight as it stands and keeps what chosen matrices read and, on request, gave.
class RecordingExecutor final : public Executor {
 public:
  /// slot[index of a matrix]: where its input is kept, or -1.
  RecordingExecutor(const std::vector<int>& slot, std::size_t slots, bool keep_outputs)
      : slot_(slot), keep_outputs_(keep_outputs), inputs(slots), outputs(keep_outputs ? slots : 0) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    return keep(matrix, x, vpd::linear(x, matrix.weight, matrix.bias));
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    return keep(matrix, tokens, vpd::embedding(tokens, matrix.table()));
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

 public:
  std::vector<at::Tensor> inputs;   ///< per slot [N, d_in]; of an embedding tokens [N]
  std::vector<at::Tensor> outputs;  ///< per slot [N, d_out], if kept
};

}  // namespace vpd
