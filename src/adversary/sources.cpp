#include "vpd/adversary/sources.hpp"

#include <ATen/ATen.h>

namespace vpd {

SourceLayout make_layout(const Sites& sites, std::int64_t batch_rows, std::int64_t time_rows) {
  return {batch_rows, time_rows, sites.total_C() + static_cast<std::int64_t>(sites.size())};
}

at::Tensor site_columns(const at::Tensor& sources, const Sites& sites, std::size_t i) {
  return sources.narrow(1, sites[i].offset + static_cast<std::int64_t>(i), sites[i].C + 1);
}

SourceOf tensor_sources(const Sites& sites, const SourceUse& use) {
  return [&sites, use](std::size_t i) {
    return GateSources{
        .kind = SourceKind::tensor,
        .sources = site_columns(use.values, sites, i),
        .gradient = use.gradient.defined() ? site_columns(use.gradient, sites, i) : at::Tensor(),
        .gradient_scale = use.gradient_scale,
        .overwrite_gradient = use.overwrite,
        .time_length = use.T,
        .first_batch = use.first_batch,
        .batch_rows = use.layout.batch_rows,
        .time_rows = use.layout.time_rows};
  };
}

}  // namespace vpd
