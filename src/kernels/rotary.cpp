#include "vpd/kernels/rotary.hpp"

#include <algorithm>
#include <cstdint>

#include <ATen/ATen.h>

#include "dispatch.hpp"
#include "on_device.hpp"
#include "rotary_kernel.hpp"

namespace vpd {

RotaryTable make_rotary_table(std::int64_t T, std::int64_t d_head, double base, bool adjacent,
                              at::ScalarType dtype, at::Device device) {
  VPD_CHECK(d_head > 0 && d_head % 2 == 0 && T > 0, UsageError,
            "rotary embedding: expected at least one position and an even head width, found {} and {}", T,
            d_head);
  const auto options = at::TensorOptions().dtype(wide_type(dtype)).device(device);
  const std::int64_t half = d_head / 2;
  const at::Tensor frequency = at::pow(base, at::arange(half, options) / static_cast<double>(half));
  const at::Tensor angle = at::arange(T, options).unsqueeze(1) / frequency.unsqueeze(0);
  return {angle.cos(), angle.sin(), adjacent};
}

RotaryTable make_rotary_table(std::int64_t T, const at::Tensor& frequency, bool adjacent) {
  VPD_CHECK(T > 0 && frequency.dim() == 1 && frequency.numel() > 0, UsageError,
            "rotary embedding: expected at least one position and one frequency, found {} and {}", T,
            frequency.numel());
  const at::Tensor angle = at::arange(T, frequency.options()).unsqueeze(1) * frequency.unsqueeze(0);
  return {angle.cos(), angle.sin(), adjacent};
}

// Lengths may grow by one, as where text is generated. Each of them is the first rows of the longest table,
// and a longer one than that makes a table of twice its length. Angles of a position hang on nothing else.
const RotaryTable& RotaryTables::of(std::int64_t T) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto found = tables_.find(T); found != tables_.end()) return found->second;
  const std::int64_t longest = tables_.empty() ? 0 : tables_.rbegin()->first;
  if (T < 1 || T > longest) {
    const std::int64_t made = T < 1 ? T : std::max(T, 2 * longest);
    tables_.emplace(made, make_(made));
  }
  return tables_.emplace(T, tables_.rbegin()->second.rows(0, T)).first->second;
}

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table, bool inverse) {
  RotaryParams p;
  p.type = element_type(x, "rotary embedding: x");
  p.rows = x.size(0), p.half = table.cosine.size(1), p.time_length = table.cosine.size(0);
  const at::ScalarType wide = wide_type(x.scalar_type());
  for (const at::Tensor* part : {&table.cosine, &table.sine}) {
    check_matrix(*part, p.time_length, p.half, wide, "rotary embedding: table");
    VPD_CHECK(part->is_contiguous(), UsageError, "rotary embedding: expected a contiguous table");
  }
  check_matrix(x, p.rows, x.size(1), x.scalar_type(), "rotary embedding: x");
  VPD_CHECK(x.size(1) % (2 * p.half) == 0 && x.size(1) <= INT32_MAX && p.rows % p.time_length == 0,
            UsageError,
            "rotary embedding: expected rows of whole heads of {} and whole sequences of {}, found [{}, {}]",
            2 * p.half, p.time_length, p.rows, x.size(1));
  p.heads = x.size(1) / (2 * p.half);
  at::Tensor out = at::empty({p.rows, x.size(1)}, x.options());
  p.x = x.const_data_ptr(), p.x_stride = x.stride(0), p.out = out.mutable_data_ptr();
  p.cosine = table.cosine.const_data_ptr(), p.sine = table.sine.const_data_ptr();
  p.adjacent = table.adjacent, p.inverse = inverse;
  on_device(
      {x, table.cosine, table.sine}, [&] { rotary_cpu(p); }, [&](void* stream) { rotary_cuda(p, stream); });
  return out;
}

}  // namespace vpd
