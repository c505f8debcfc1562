#include "vpd/ops/head_kl.hpp"

#include <algorithm>

#include <ATen/ATen.h>

#include "vpd/base/error.hpp"
#include "vpd/kernels/kl.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

std::int64_t head_kl_rows(const at::Device& device, at::ScalarType type, std::int64_t vocabulary) {
  const std::int64_t bytes = device.is_cpu() ? std::int64_t{1} << 21 : std::int64_t{1} << 29;
  const std::int64_t elements = bytes / static_cast<std::int64_t>(c10::elementSize(type));
  constexpr std::int64_t fewest = 64;
  return std::max(fewest, elements / std::max<std::int64_t>(1, vocabulary));
}

HeadKlResult kl_through_head(const at::Tensor& target, const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& bias, bool want_gradient, double scale) {
  const at::NoGradGuard no_grad;
  const std::int64_t N = x.size(0), V = weight.size(0);
  VPD_CHECK(target.size(0) == N && target.size(1) == V, UsageError,
            "KL through a head: expected target logits [{}, {}], found [{}, {}]", N, V, target.size(0),
            target.size(1));
  const std::int64_t most = std::min(N, head_kl_rows(x.device(), x.scalar_type(), V));
  const at::Tensor chunk = empty_rows(most, V, x.options());
  HeadKlResult result{at::zeros({}, x.options().dtype(at::kDouble)), {}};
  if (want_gradient) result.gradient = at::empty_like(x);
  for (std::int64_t first = 0; first < N; first += most) {
    const std::int64_t rows = std::min(most, N - first);
    at::Tensor logits = chunk.narrow(0, 0, rows);
    matrix_product_into(logits, x.narrow(0, first, rows), weight.t(), /*accumulate=*/false);
    if (bias.defined()) logits.add_(bias);
    const KlResult kl =
        kl_from_logits(target.narrow(0, first, rows), logits, want_gradient, scale, /*in_place=*/true);
    result.sum.add_(kl.sum);
    if (want_gradient)
      matrix_product_into(result.gradient.narrow(0, first, rows), kl.gradient, weight, /*accumulate=*/false);
  }
  return result;
}

}  // namespace vpd
