#include "vpd/passes/sources.hpp"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "kernels/ascent_step.hpp"
#include "vpd/kernels/ascent.hpp"
#include "vpd/kernels/routing.hpp"

namespace vpd {

SourceLayout make_layout(const Sites& sites, std::int64_t batch_rows, std::int64_t time_rows) {
  SourceLayout layout{batch_rows, time_rows};
  for (const Site& site : sites) {
    layout.sites.push_back({layout.columns, layout.columns + site.C + 1});
    layout.columns += (site.C + source_alignment) / source_alignment * source_alignment;
  }
  return layout;
}

std::int64_t SourceLayout::channels() const {
  return std::accumulate(sites.begin(), sites.end(), std::int64_t{0},
                         [](std::int64_t sum, const Range& site) { return sum + site.size(); });
}

at::Tensor site_columns(const at::Tensor& sources, const SourceLayout& layout, std::size_t i) {
  return sources.narrow(1, layout.sites[i].begin, layout.sites[i].size());
}

bool is_compact(const at::Tensor& sources) { return sources.scalar_type() == at::kShort; }

at::Tensor compacted(const at::Tensor& sources) {
  return sources.clamp(0.0, 1.0).mul_(source_levels).round_().to(at::kShort);
}

at::Tensor widened(const at::Tensor& compact) { return compact.to(at::kFloat).mul_(1 / source_levels); }

void copy_channels(const at::Tensor& sources, const SourceLayout& layout, const at::Tensor& channels) {
  std::int64_t first = 0;
  for (std::size_t i = 0; i < layout.sites.size(); ++i) {
    const at::Tensor of_site = channels.narrow(1, first, layout.sites[i].size());
    site_columns(sources, layout, i).copy_(is_compact(sources) ? compacted(of_site) : of_site);
    first += layout.sites[i].size();
  }
}

void draw_sources(const at::Tensor& sources, const SourceLayout& layout, const LateKey& key,
                  std::int64_t first_row) {
  constexpr std::int64_t at_once = std::int64_t{1} << 24;  // channels of what is drawn on the way
  const std::int64_t rows = sources.size(0), channels = layout.channels();
  const std::int64_t part = std::min(rows, std::max(at_once / channels, std::int64_t{1}));
  const at::Tensor drawn = at::empty(
      {part, channels}, is_compact(sources) ? sources.options().dtype(at::kFloat) : sources.options());
  for (std::int64_t first = 0; first < rows; first += part) {
    const at::Tensor some = drawn.narrow(0, 0, std::min(part, rows - first));
    fill_uniform(some, key, first_row + first);
    copy_channels(sources.narrow(0, first, some.size(0)), layout, some);
  }
}

SourceOf read_sources(const SourceLayout& layout, const at::Tensor& values, std::int64_t T,
                      std::int64_t first_batch, const SourceDestination& destination) {
  return [=](std::size_t i) {
    const auto columns = [&](at::Tensor& x) {
      if (x.defined()) x = site_columns(x, layout, i);
    };
    ReadSources site{.values = values,
                     .time_length = T,
                     .first_batch = first_batch,
                     .batch_rows = layout.batch_rows,
                     .time_rows = layout.time_rows,
                     .destination = destination};
    columns(site.values);
    if (auto* to = std::get_if<SourceGradient>(&site.destination)) columns(to->sum);
    if (auto* to = std::get_if<SourceAscent>(&site.destination)) columns(to->m), columns(to->v);
    return GateSources{std::move(site)};
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
    mixed.from =
        MixedSources{.read = std::get<ReadSources>(std::move(mixed.from)),
                     .drawn = {.key = key, .site = static_cast<std::uint32_t>(site), .first_row = first_row},
                     .is_read = adversarial[static_cast<std::int64_t>(site)]};
    return mixed;
  };
}

}  // namespace vpd
