#include "vpd/objective/faithfulness.hpp"

#include <ATen/ATen.h>

#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

at::Tensor squared_delta(const Decomposition& decomposition, std::size_t site, double seed,
                         const at::Tensor& V_gradient, const at::Tensor& U_gradient) {
  const at::NoGradGuard no_grad;
  const at::Tensor V = decomposition.components.value(2 * site),
                   U = decomposition.components.value(2 * site + 1);
  at::Tensor difference = matrix_product(U.t(), V.t()).sub_(decomposition.matrix(site).master);  // (V U)ᵀ - W
  const at::Tensor value = difference.square().sum(at::kDouble);
  if (V_gradient.defined()) {
    difference.mul_(2.0 * seed);
    matrix_product_into(V_gradient, difference.t(), U.t(), /*accumulate=*/true);
    matrix_product_into(U_gradient, V.t(), difference.t(), /*accumulate=*/true);
  }
  return value;
}

}  // namespace vpd
