#include "vpd/kernels/positions.hpp"

#include <algorithm>
#include <limits>

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "on_device.hpp"
#include "positions_kernel.hpp"

namespace vpd {
namespace {

const std::int32_t* indices(const at::Tensor& x, const char* what) {
  VPD_CHECK(x.scalar_type() == at::kInt && x.dim() == 1 && x.is_contiguous(), UsageError,
            "expected {} as one contiguous dimension of int32, found {} dimensions of {}", what, x.dim(),
            at::toString(x.scalar_type()));
  return static_cast<const std::int32_t*>(x.const_data_ptr());
}

}  // namespace

std::vector<MaskedPositions> masked_positions(const at::Tensor& routing, std::int64_t most) {
  VPD_CHECK(routing.dim() == 2 && routing.scalar_type() == at::kByte && routing.is_contiguous() &&
                routing.size(1) <= std::numeric_limits<std::int32_t>::max() && most >= 0,
            UsageError,
            "masked positions: expected routing as contiguous uint8 [L, N], found {} of {} dimensions and {} "
            "elements",
            at::toString(routing.scalar_type()), routing.dim(), routing.numel());
  const std::int64_t L = routing.size(0), N = routing.size(1), M = std::min(most, N);
  const at::TensorOptions whole = routing.options().dtype(at::kInt);
  const at::Tensor positions = at::empty({L, M}, whole), places = at::empty({L, N}, whole),
                   counts = at::empty({L}, whole);
  const MaskedPositionsParams p{.sites = L,
                                .rows = N,
                                .most = M,
                                .routing = routing.const_data_ptr<std::uint8_t>(),
                                .positions = positions.mutable_data_ptr<std::int32_t>(),
                                .places = places.mutable_data_ptr<std::int32_t>(),
                                .counts = counts.mutable_data_ptr<std::int32_t>()};
  on_device(
      {routing}, [&] { masked_positions_cpu(p); }, [&](void* stream) { masked_positions_cuda(p, stream); });
  std::vector<MaskedPositions> sites;
  for (std::int64_t l = 0; l < L; ++l) {
    const std::int64_t listed = routing.is_cpu() ? p.counts[l] : M;
    sites.push_back({positions[l].narrow(0, 0, listed), places[l]});
  }
  return sites;
}

at::Tensor select_rows(const at::Tensor& x, const at::Tensor& positions) {
  RowsParams p{.type = element_type(x, "selected rows"), .columns = x.size(1), .rows = positions.numel()};
  check_matrix(x, x.size(0), p.columns, x.scalar_type(), "selected rows");
  at::Tensor out = at::empty({p.rows, p.columns}, x.options());
  p.x = x.const_data_ptr(), p.x_stride = x.stride(0);
  p.row_of = indices(positions, "positions of rows");
  p.y = out.mutable_data_ptr(), p.y_stride = out.stride(0);
  on_device(
      {x, positions}, [&] { select_rows_cpu(p); }, [&](void* stream) { select_rows_cuda(p, stream); });
  return out;
}

at::Tensor dot_rows(const at::Tensor& a, const at::Tensor& b, const at::Tensor& positions) {
  RowsParams p{.type = element_type(a, "products of rows"), .columns = a.size(1), .rows = positions.numel()};
  check_matrix(a, a.size(0), p.columns, a.scalar_type(), "products of rows");
  check_matrix(b, a.size(0), p.columns, a.scalar_type(), "products of rows: the other");
  at::Tensor out = at::empty({p.rows}, a.options().dtype(wide_type(a.scalar_type())));
  p.x = a.const_data_ptr(), p.x_stride = a.stride(0);
  p.other = b.const_data_ptr(), p.other_stride = b.stride(0);
  p.row_of = indices(positions, "positions of rows");
  p.y = out.mutable_data_ptr(), p.y_stride = 1;
  on_device(
      {a, b, positions}, [&] { dot_rows_cpu(p); }, [&](void* stream) { dot_rows_cuda(p, stream); });
  return out;
}

void combine_rows(const at::Tensor& y, const at::Tensor& scale, const at::Tensor& part,
                  const at::Tensor& places) {
  RowsParams p{.type = element_type(y, "combined rows"), .columns = y.size(1), .rows = y.size(0)};
  check_matrix(y, p.rows, p.columns, y.scalar_type(), "combined rows");
  check_matrix(part, part.size(0), p.columns, y.scalar_type(), "combined rows: part");
  VPD_CHECK(scale.is_contiguous() && scale.numel() == part.size(0) &&
                scale.scalar_type() == wide_type(y.scalar_type()) && places.numel() == p.rows,
            UsageError,
            "combined rows: expected a contiguous {} scale for each of {} rows and a place for each of {} "
            "positions, found {} of {} and {}",
            at::toString(wide_type(y.scalar_type())), part.size(0), p.rows, scale.numel(),
            at::toString(scale.scalar_type()), places.numel());
  p.x = part.const_data_ptr(), p.x_stride = part.stride(0);
  p.row_of = indices(places, "places of rows");
  p.scale = scale.const_data_ptr();
  p.y = y.mutable_data_ptr(), p.y_stride = y.stride(0);
  on_device(
      {y, scale, part, places}, [&] { combine_rows_cpu(p); },
      [&](void* stream) { combine_rows_cuda(p, stream); });
}

}  // namespace vpd
