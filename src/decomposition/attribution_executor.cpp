#include "vpd/decomposition/attribution_executor.hpp"

#include <ATen/ATen.h>

#include "ops/record.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {
namespace {

struct AttributionBackward {
  at::Tensor x, W, V, U, scores;

  template <class Wanted>
  void operator()(const at::Tensor& dy, const Wanted& wanted, torch::autograd::variable_list& out) const {
    const at::NoGradGuard no_grad;
    const at::Tensor along = matrix_product(dy, U.t()).to(scores.scalar_type());
    at::Tensor(scores).copy_(along.mul_(matrix_product(x, V)));
    if (wanted(0)) out[0] = matrix_product(dy, W);
  }
};

struct EmbeddingAttributionBackward {
  at::Tensor tokens, V, U, scores;

  template <class Wanted>
  void operator()(const at::Tensor& dy, const Wanted&, torch::autograd::variable_list&) const {
    const at::NoGradGuard no_grad;
    const at::Tensor along = matrix_product(dy.to(U.scalar_type()), U.t()).to(scores.scalar_type());
    at::Tensor(scores).copy_(along.mul_(at::embedding(V, tokens)));
  }
};

}  // namespace

at::Tensor AttributionExecutor::linear(const Matrix& matrix, const at::Tensor& x) {
  const int site = sites_.of_matrix()[matrix.index];
  if (site < 0) return inner().linear(matrix, x);
  const auto i = static_cast<std::size_t>(site);
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = inner().linear(matrix, x.detach());
  }
  AttributionBackward backward{x.detach(), matrix.weight.value, components_.V(i).value,
                               components_.U(i).value, scores_of(i)};
  return record(std::move(y), "attribution", {x}, /*needed=*/true, std::move(backward));
}

at::Tensor AttributionExecutor::embedding(const Matrix& matrix, const at::Tensor& tokens) {
  const int site = sites_.of_matrix()[matrix.index];
  if (site < 0) return inner().embedding(matrix, tokens);
  const auto i = static_cast<std::size_t>(site);
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    y = inner().embedding(matrix, tokens);
  }
  EmbeddingAttributionBackward backward{tokens, components_.V(i).value, components_.U(i).value, scores_of(i)};
  return record(std::move(y), "embedding_attribution", {}, /*needed=*/true, std::move(backward));
}

}  // namespace vpd
