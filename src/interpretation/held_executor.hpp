#pragma once

#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "vpd/decomposition/decomposition.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// Every site gives what it is told to, whatever it reads.
class HeldExecutor final : public ForwardingExecutor {
 public:
  /// writes: per site [N, d_out].
  HeldExecutor(const Decomposition& d, std::vector<at::Tensor> writes)
      : reads(d.sites.size()), d_(d), writes_(std::move(writes)) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const int site = d_.sites.of_matrix()[matrix.index];
    if (site < 0) return inner().linear(matrix, x);
    const auto i = static_cast<std::size_t>(site);
    reads[i] = x;
    return writes_[i];
  }
  at::Tensor embedding(const Matrix& matrix, const at::Tensor& tokens) override {
    const int site = d_.sites.of_matrix()[matrix.index];
    return site < 0 ? inner().embedding(matrix, tokens) : writes_[static_cast<std::size_t>(site)];
  }

  std::vector<at::Tensor> reads;  ///< per site [N, d_in]; undefined: of an embedding

 private:
  const Decomposition& d_;
  std::vector<at::Tensor> writes_;
};

}  // namespace vpd
