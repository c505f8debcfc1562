#include "given_masks.hpp"

namespace vpd {

at::Tensor GivenMasks::linear(const Matrix& matrix, const at::Tensor& x) {
  const int site = d_.sites.of_matrix()[matrix.index];
  if (site < 0) return inner().linear(matrix, x);
  const auto i = static_cast<std::size_t>(site);
  const at::Tensor wide = x.to(masks_.columns.scalar_type());
  at::Tensor y = masked(i, wide.matmul(d_.components.V(i)));
  const at::Tensor delta = masks_.delta.select(1, site).unsqueeze(1);
  y = y + delta * wide.matmul(matrix.weight.value.to(y.scalar_type()).t());
  if (matrix.bias.value.defined()) y = y + matrix.bias.value.to(y.scalar_type());
  return y.to(x.scalar_type());
}

at::Tensor GivenMasks::embedding(const Matrix& matrix, const at::Tensor& tokens) {
  const int site = d_.sites.of_matrix()[matrix.index];
  if (site < 0) return inner().embedding(matrix, tokens);
  const auto i = static_cast<std::size_t>(site);
  const at::Tensor delta = masks_.delta.select(1, site).unsqueeze(1);
  return masked(i, at::embedding(d_.components.V(i), tokens)) +
         delta * at::embedding(matrix.table().value, tokens);
}

at::Tensor GivenMasks::masked(std::size_t i, const at::Tensor& h) const {
  const at::Tensor m =
      d_.sites.columns(masks_.columns, i) - masks_.delta.narrow(1, static_cast<std::int64_t>(i), 1);
  return (h * m).matmul(d_.components.U(i));
}

}  // namespace vpd
