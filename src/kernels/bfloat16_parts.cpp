#include "vpd/kernels/bfloat16_parts.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "bfloat16_parts_kernel.hpp"
#include "on_device.hpp"
#include "vpd/base/error.hpp"
#include "vpd/kernels/matrix_product.hpp"

namespace vpd {

BFloat16Parts BFloat16Parts::t() const {
  BFloat16Parts transposed;
  for (const at::Tensor& part : parts) transposed.parts.push_back(part.t());
  return transposed;
}

namespace {

BFloat16Parts split(BFloat16PartsParams p, const at::Tensor& x, const at::Tensor& less,
                    const at::Tensor& squares) {
  const auto check = [&](const at::Tensor& matrix) {
    VPD_CHECK(matrix.scalar_type() == at::kFloat && matrix.dim() == 2 && matrix.is_contiguous() &&
                  matrix.sizes() == x.sizes(),
              UsageError, "bfloat16 parts: expected contiguous float32 matrices of one shape, found {} of {}",
              at::toString(matrix.scalar_type()), matrix.numel());
  };
  check(x);
  p.rows = x.size(0), p.columns = x.size(1), p.x = x.const_data_ptr<float>();
  if (less.defined()) {
    check(less);
    p.less = less.const_data_ptr<float>();
  }
  if (squares.defined()) p.squares = squares.mutable_data_ptr<double>();
  BFloat16Parts out;
  if (p.parts > 0) {
    const at::Tensor all = at::empty({p.parts, p.rows, p.columns}, x.options().dtype(at::kBFloat16));
    p.out = all.mutable_data_ptr();
    for (int k = 0; k < p.parts; ++k) out.parts.push_back(all[k]);
  }
  on_device(
      {x, less, squares}, [&] { bfloat16_parts_cpu(p); },
      [&](void* stream) { bfloat16_parts_cuda(p, stream); });
  return out;
}

}  // namespace

BFloat16Parts bfloat16_parts(const at::Tensor& x, int count) {
  VPD_CHECK(count >= 1 && count <= most_parts, UsageError, "bfloat16 parts: expected 1 to {} parts, found {}",
            most_parts, count);
  return split({.parts = count}, x, {}, {});
}

DifferenceParts difference_parts(const at::Tensor& a, const at::Tensor& b, double scale, int count) {
  VPD_CHECK(count >= 0 && count <= most_parts, UsageError, "bfloat16 parts: expected 0 to {} parts, found {}",
            most_parts, count);
  const at::NoGradGuard no_grad;
  const at::Tensor squares = at::empty({a.size(0)}, a.options().dtype(at::kDouble));
  DifferenceParts out;
  out.parts = split({.parts = count, .scale = static_cast<float>(scale)}, a, b.contiguous(), squares);
  out.squares = squares.sum();
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
