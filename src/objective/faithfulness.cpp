#include "vpd/objective/faithfulness.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include "vpd/kernels/bfloat16_parts.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

at::Tensor squared_delta(const Decomposition& decomposition, std::size_t site, double seed,
                         const at::Tensor& V_gradient, const at::Tensor& U_gradient) {
  const at::NoGradGuard no_grad;
  const at::Tensor V = decomposition.components.V(site), U = decomposition.components.U(site);
  at::Tensor difference = at::empty({U.size(1), V.size(0)}, V.options());  // (V U)ᵀ - W
  // Where activations are bfloat16 there are tensor cores, on which a product in float32 is dear, and where
  // tf32 is on it is not one in float32: the value to all of float32's bits, since W cancels most of (V U)ᵀ,
  // and its gradient to 16.
  const bool in_parts = decomposition.numerics.compute == at::kBFloat16 ||
                        (V.is_cuda() && at::globalContext().allowTF32CuBLAS());
  if (in_parts) {
    const BFloat16Parts V_parts = bfloat16_parts(V, 3), U_parts = bfloat16_parts(U, 3);
    parts_product_into(difference, U_parts.t(), V_parts.t(), /*orders=*/3, /*accumulate=*/false);
    const bool wanted = V_gradient.defined();
    const DifferenceParts split =
        difference_parts(difference, decomposition.matrix(site).master, 2.0 * seed, wanted ? 2 : 0);
    if (wanted) {
      const BFloat16Parts slope = split.parts.t();
      parts_product_into(V_gradient, slope, U_parts.t(), /*orders=*/2, /*accumulate=*/true);
      parts_product_into(U_gradient, V_parts.t(), slope, /*orders=*/2, /*accumulate=*/true);
    }
    return split.squares;
  }
  matrix_product_into(difference, U.t(), V.t(), /*accumulate=*/false);
  difference.sub_(decomposition.matrix(site).master);
  const at::Tensor value = difference.square().sum(at::kDouble);
  if (!V_gradient.defined()) return value;
  difference.mul_(2.0 * seed);
  matrix_product_into(V_gradient, difference.t(), U.t(), /*accumulate=*/true);
  matrix_product_into(U_gradient, V.t(), difference.t(), /*accumulate=*/true);
  return value;
}

}  // namespace vpd
