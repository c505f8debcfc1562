#include "vpd/kernels/routing.hpp"

#include <ATen/ATen.h>

#include "on_device.hpp"
#include "routing_kernel.hpp"

namespace vpd {
namespace {

at::Tensor draw(RoutingParams p, at::Device device) {
  VPD_CHECK(p.sites >= 1 && p.sites <= most_routed_sites, UsageError,
            "routing: expected 1 to {} sites, found {}", most_routed_sites, p.sites);
  at::Tensor out = at::empty({p.sites, p.rows}, at::TensorOptions().dtype(at::kByte).device(device));
  p.out = out.mutable_data_ptr<std::uint8_t>();
  on_device(
      {out}, [&] { routing_cpu(p); }, [&](void* stream) { routing_cuda(p, stream); });
  return out;
}

}  // namespace

at::Tensor draw_subset_routing(const LateKey& key, std::int64_t L, std::int64_t N, std::int64_t first_row,
                               at::Device device) {
  return draw({.sites = L, .rows = N, .first_row = first_row, .key = key}, device);
}

at::Tensor draw_static_routing(const LateKey& key, const LateNumber& probability, std::int64_t L,
                               std::int64_t N, std::int64_t first_row, at::Device device) {
  return draw({.sites = L,
               .rows = N,
               .first_row = first_row,
               .key = key,
               .subset = false,
               .probability = probability},
              device);
}

}  // namespace vpd
