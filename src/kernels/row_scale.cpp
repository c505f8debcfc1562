#include "vpd/kernels/row_scale.hpp"

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "on_device.hpp"
#include "row_scale_kernel.hpp"

namespace vpd {

at::Tensor scale_rows(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& x) {
  RowScaleParams p{.type = element_type(y, "scaled rows"), .rows = y.size(0), .columns = y.size(1)};
  const at::ScalarType wide = wide_type(y.scalar_type());
  check_matrix(y, p.rows, p.columns, y.scalar_type(), "scaled rows");
  VPD_CHECK(scale.is_contiguous() && scale.numel() == p.rows && scale.scalar_type() == wide, UsageError,
            "scaled rows: expected {} contiguous {} scales, found {} of {}", p.rows, at::toString(wide),
            scale.numel(), at::toString(scale.scalar_type()));
  p.y = y.mutable_data_ptr(), p.y_stride = y.stride(0);
  p.scale = scale.const_data_ptr();
  at::Tensor dots;
  if (x.defined()) {
    check_matrix(x, p.rows, p.columns, y.scalar_type(), "scaled rows: x");
    p.x = x.const_data_ptr(), p.x_stride = x.stride(0);
    dots = at::empty_like(scale);
    p.dots = dots.mutable_data_ptr();
  }
  on_device(
      {y, scale, x}, [&] { row_scale_cpu(p); }, [&](void* stream) { row_scale_cuda(p, stream); });
  return dots;
}

}  // namespace vpd
