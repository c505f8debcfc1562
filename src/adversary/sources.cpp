#include "vpd/adversary/sources.hpp"

#include <ATen/ATen.h>

#include "vpd/kernels/routing.hpp"

namespace vpd {

SourceLayout make_layout(const Sites& sites, std::int64_t batch_rows, std::int64_t time_rows) {
  return {batch_rows, time_rows, sites.total_C() + static_cast<std::int64_t>(sites.size())};
}

at::Tensor site_columns(const at::Tensor& sources, const Sites& sites, std::size_t i) {
  return sources.narrow(1, sites[i].offset + static_cast<std::int64_t>(i), sites[i].C + 1);
}

SourceOf tensor_sources(const Sites& sites, const SourceUse& use) {
  return [&sites, use](std::size_t i) {
    const auto columns = [&](const at::Tensor& x) { return x.defined() ? site_columns(x, sites, i) : x; };
    std::optional<SourceAscent> ascent;
    if (use.ascent) ascent = {use.ascent->rule, columns(use.ascent->m), columns(use.ascent->v)};
    return GateSources{.kind = SourceKind::tensor,
                       .sources = columns(use.values),
                       .gradient = columns(use.gradient),
                       .gradient_scale = use.gradient_scale,
                       .overwrite_gradient = use.overwrite,
                       .ascent = ascent,
                       .time_length = use.T,
                       .first_batch = use.first_batch,
                       .batch_rows = use.layout.batch_rows,
                       .time_rows = use.layout.time_rows};
  };
}

at::Tensor draw_merged(const MergedMasksConfig& config, const LateNumber& fraction, const LateKey& key,
                       const PassContext& context) {
  const auto L = static_cast<std::int64_t>(context.decomposition->sites.size());
  const std::int64_t B = context.clean->B(), T = context.clean->T();
  const at::Device device = context.decomposition->numerics.device;
  const auto draw = [&](std::int64_t rows, std::int64_t first) {
    return draw_static_routing(key, fraction, L, rows, first, device);
  };
  switch (config.draw) {
    case MergedDraw::per_position:
      return draw(B * T, context.first_row);
    case MergedDraw::per_row:
      return draw(B, context.first_row / T).unsqueeze(2).expand({L, B, T}).contiguous().view({L, B * T});
    case MergedDraw::per_step:
      break;
  }
  return draw(1, 0).expand({L, B * T}).contiguous();
}

SourceOf merged_sources(SourceOf sources, const at::Tensor& adversarial, const LateKey& key,
                        const PassContext& context) {
  return [sources = std::move(sources), adversarial, key, first_row = context.first_row](std::size_t site) {
    GateSources mixed = sources(site);
    mixed.kind = SourceKind::mixed;
    mixed.key = key, mixed.site = static_cast<std::uint32_t>(site), mixed.first_row = first_row;
    mixed.from_matrix = adversarial[static_cast<std::int64_t>(site)];
    return mixed;
  };
}

}  // namespace vpd
