#include "vpd/kernels/ascent.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "ascent_kernel.hpp"
#include "dispatch.hpp"
#include "on_device.hpp"

namespace vpd {

void fill_uniform(const at::Tensor& x, const LateKey& key, std::int64_t first_row) {
  check_matrix(x, x.size(0), x.size(1), wide_type(x.scalar_type()), "uniform draw");
  FillUniformParams p{.rows = x.size(0),
                      .columns = x.size(1),
                      .type = element_type(x, "uniform draw"),
                      .x = x.mutable_data_ptr(),
                      .stride = x.stride(0),
                      .key = key,
                      .first_row = first_row};
  on_device(
      {x}, [&] { fill_uniform_cpu(p); }, [&](void* stream) { fill_uniform_cuda(p, stream); });
}

double bias_correction(double beta, std::int64_t count) {
  return 1.0 / (1.0 - std::pow(beta, static_cast<double>(count)));
}

void ascend(const at::Tensor& x, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v,
            const AscentRule& rule, const at::Tensor& counts) {
  const auto like_x = [&](const at::Tensor& y) {
    return y.defined() && y.is_contiguous() && y.sizes() == x.sizes() && y.scalar_type() == x.scalar_type();
  };
  VPD_CHECK(x.scalar_type() == wide_type(x.scalar_type()) && like_x(x) && like_x(gradient), UsageError,
            "ascent: expected contiguous float32 or float64 sources and a gradient like them");
  VPD_CHECK(!rule.adam || (like_x(m) && like_x(v)), UsageError,
            "ascent: Adam needs moments like the sources");
  AscentParams p{.count = x.numel(),
                 .type = element_type(x, "ascent"),
                 .x = x.mutable_data_ptr(),
                 .gradient = gradient.const_data_ptr(),
                 .rule = rule};
  if (rule.adam) {
    p.m = m.mutable_data_ptr(), p.v = v.mutable_data_ptr();
    if (counts.defined()) {
      const std::int64_t parts = counts.numel();
      VPD_CHECK(
          counts.scalar_type() == at::kLong && counts.is_contiguous() && parts > 0 && x.numel() % parts == 0,
          UsageError, "ascent: expected contiguous int64 counts of equal parts of {} sources, found {} of {}",
          x.numel(), parts, at::toString(counts.scalar_type()));
      p.counts = counts.const_data_ptr<std::int64_t>(), p.part = x.numel() / parts;
    }
  }
  on_device(
      {x, gradient, m, v, counts}, [&] { ascend_cpu(p); }, [&](void* stream) { ascend_cuda(p, stream); });
}

}  // namespace vpd
