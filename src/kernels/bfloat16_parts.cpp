#include "vpd/kernels/bfloat16_parts.hpp"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "vpd/base/error.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

BFloat16Parts BFloat16Parts::t() const {
  BFloat16Parts transposed;
  for (const at::Tensor& part : parts) transposed.parts.push_back(part.t());
  return transposed;
}

BFloat16Parts bfloat16_parts(const at::Tensor& x, int count) {
  VPD_CHECK(
      x.scalar_type() == at::kFloat && x.dim() == 2 && count >= 1, UsageError,
      "bfloat16 parts: expected a float32 matrix and at least one part, found {} of {} dimensions and {}",
      at::toString(x.scalar_type()), x.dim(), count);
  const at::NoGradGuard no_grad;
  BFloat16Parts out{{x.to(at::kBFloat16)}};
  at::Tensor rest = x;
  while (static_cast<int>(out.parts.size()) < count) {
    rest = at::sub(rest, out.parts.back());  // exact: a float32 less what it was rounded to
    out.parts.push_back(rest.to(at::kBFloat16));
  }
  return out;
}

void parts_product_into(const at::Tensor& out, const BFloat16Parts& a, const BFloat16Parts& b, int orders,
                        bool accumulate) {
  const auto of_a = static_cast<int>(a.parts.size()), of_b = static_cast<int>(b.parts.size());
  VPD_CHECK(
      out.scalar_type() == at::kFloat && orders >= 1 && orders <= of_a && orders <= of_b, UsageError,
      "product of parts: expected a float32 sum and {} parts of each factor, found {} and {} and {} parts",
      orders, at::toString(out.scalar_type()), of_a, of_b);
  for (int order = orders - 1; order >= 0; --order) {
    for (int i = 0; i <= order; ++i) {
      matrix_product_into(out, a.parts[static_cast<std::size_t>(i)],
                          b.parts[static_cast<std::size_t>(order - i)], accumulate);
      accumulate = true;
    }
  }
}

}  // namespace vpd
