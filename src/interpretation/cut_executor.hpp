#pragma once

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
  explicit CutExecutor(const Decomposition& d) : reads(d.sites.size()), writes(d.sites.size()), d_(d) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const int site = d_.sites.of_matrix()[matrix.index];
    if (site < 0) {
      const at::Tensor y = inner().linear(matrix, x);
      if (matrix.bias.value.defined() && y.requires_grad()) constants.emplace_back(y, matrix.bias.value);
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

  std::vector<at::Tensor> reads;   ///< per site [N, d_in], on the graph; undefined: of an embedding
  std::vector<at::Tensor> writes;  ///< per site [N, d_out], leaves
  at::Tensor embedded;             ///< [N, d], a leaf; undefined where the embedding is a site
  std::vector<std::pair<at::Tensor, at::Tensor>> constants;  ///< what other matrices gave, and their biases

 private:
  static at::Tensor leaf(const at::Tensor& y) { return y.detach().requires_grad_(true); }

  const Decomposition& d_;
};

}  // namespace vpd
