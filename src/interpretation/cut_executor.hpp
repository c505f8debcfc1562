#pragma once

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// The target's own pass with the graph of derivatives cut at what every site and the embedding give: these
/// are leaves, so that derivatives follow paths through no other site. Cutting y cuts all subcomponents, Δ
/// and the bias at once.
class CutExecutor final : public ForwardingExecutor {
 public:
  /// `inner` says how derivatives pass what is not linear; nothing: as they are.
  explicit CutExecutor(const Decomposition& d, Executor* inner = nullptr)
      : ForwardingExecutor(inner), reads(d.sites.size()), writes(d.sites.size()), d_(d) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const int site = d_.sites.of_matrix()[matrix.index];
    if (site < 0) {
      at::Tensor y = inner().linear(matrix, x);
      add_constant(y, matrix.bias.value);
      return y;
    }
    const auto i = static_cast<std::size_t>(site);
    reads[i] = x;
    return writes[i] = leaf(inner().linear(matrix, x.detach()));
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    const int site = d_.sites.of_matrix()[matrix.index];
    const at::Tensor rows = leaf(inner().embedding(matrix, tokens));
    return site < 0 ? embedded = rows : writes[static_cast<std::size_t>(site)] = rows;
  }
  at::Tensor norm(const NormCall& call, const at::Tensor& x) override {
    at::Tensor y = inner().norm(call, x);
    if (call.bias) add_constant(y, call.bias->value);
    return y;
  }
  AddedNorm add_norm(const NormCall& call, const at::Tensor& x, const at::Tensor& added) override {
    AddedNorm y = inner().add_norm(call, x, added);
    if (call.bias) add_constant(y.norm, call.bias->value);
    return y;
  }
  at::Tensor positions(const at::Tensor& rows) override { return positions_ = inner().positions(rows); }
  at::Tensor residual(std::size_t block, const at::Tensor& x) override {
    if (block == 0) add_constant(x, positions_);
    return inner().residual(block, x);
  }

  std::vector<at::Tensor> reads;   ///< per site [N, d_in], on the graph; undefined: of an embedding
  std::vector<at::Tensor> writes;  ///< per site [N, d_out], leaves
  at::Tensor embedded;             ///< [N, d], a leaf; undefined where the embedding is a site
  /// What holds a constant that is no site's (biases of matrices and LayerNorms, learned positions), and the
  /// constant: [d], or [T, d].
  std::vector<std::pair<at::Tensor, at::Tensor>> constants;

 private:
  static at::Tensor leaf(const at::Tensor& y) { return y.detach().requires_grad_(true); }
  void add_constant(const at::Tensor& y, const at::Tensor& constant) {
    if (constant.defined() && y.requires_grad()) constants.emplace_back(y, constant);
  }

  const Decomposition& d_;
  at::Tensor positions_;
};

}  // namespace vpd
