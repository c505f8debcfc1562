#include "vpd/passes/reconstruction.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include <ATen/ATen.h>

#include "vpd/kernels/positions.hpp"
#include "vpd/kernels/routing.hpp"
#include "vpd/passes/divergence.hpp"

namespace vpd {
namespace {

std::vector<at::Tensor> compared(const CleanPass& clean, std::vector<at::Tensor> of_sites) {
  for (at::Tensor& y : of_sites) y = clean.at_compared(y);
  return of_sites;
}

}  // namespace

SourceOf random_sources(const PassContext& context, SourceDistribution distribution, const LateKey& key) {
  return [distribution, key, first_row = context.first_row](std::size_t site) {
    return GateSources{DrawnSources{distribution, key, static_cast<std::uint32_t>(site), first_row}};
  };
}

SourceOf constant_sources(double r, double delta) {
  return [r, delta](std::size_t) { return GateSources{ConstantSources{r, delta}}; };
}

SourceOf with_delta(SourceOf sources, std::optional<double> delta) {
  if (!delta) return sources;
  return [sources = std::move(sources), delta](std::size_t site) {
    GateSources of_site = sources(site);
    of_site.fixed_delta = delta;
    return of_site;
  };
}

double masked_share(const RoutingConfig& config, std::int64_t L) {
  const auto sites = static_cast<double>(L);
  if (std::holds_alternative<UniformKSubsetRoutingConfig>(config)) return (sites + 1.0) / (2.0 * sites);
  if (const auto* drawn = std::get_if<StaticProbabilityRoutingConfig>(&config)) return drawn->probability;
  return std::holds_alternative<LayerwiseRoutingConfig>(config) ? 1.0 / sites : 1.0;
}

std::int64_t most_masked_positions(double share, std::int64_t N) {
  constexpr double deviations = 8.0;
  constexpr std::int64_t unit = 128;
  const auto positions = static_cast<double>(N);
  const double most = share * positions + deviations * std::sqrt(share * (1.0 - share) * positions);
  const auto whole = static_cast<std::int64_t>(std::ceil(most));
  return std::min((whole + unit - 1) / unit * unit, N);
}

RoutingDraw draw_routing(const RoutingConfig& config, const LateKey& key, const PassContext& context) {
  const auto L = static_cast<std::int64_t>(context.decomposition->sites.size());
  const std::int64_t N = context.clean->N();
  const at::Device device = context.decomposition->numerics.device;
  const std::int64_t most = most_masked_positions(masked_share(config, L), N);
  return std::visit(
      [&](const auto& routing) -> RoutingDraw {
        using Kind = std::decay_t<decltype(routing)>;
        if constexpr (std::is_same_v<Kind, UniformKSubsetRoutingConfig>) {
          return {.masks = draw_subset_routing(key, L, N, context.first_row, device), .most = most};
        } else if constexpr (std::is_same_v<Kind, StaticProbabilityRoutingConfig>) {
          return {.masks = draw_static_routing(key, routing.probability, L, N, context.first_row, device),
                  .most = most};
        } else {
          return {.layerwise = std::is_same_v<Kind, LayerwiseRoutingConfig>};
        }
      },
      config);
}

std::vector<SitePass> site_passes(const PassContext& context, const SourceOf& sources,
                                  const RoutingDraw& routing, std::size_t pass) {
  const Decomposition& d = *context.decomposition;
  std::vector<SitePass> passes;
  passes.reserve(d.sites.size());
  std::vector<MaskedPositions> listed;
  // A list as long as the batch, as CUDA may need it, spares nothing.
  if (routing.masks.defined() && (routing.masks.is_cpu() || routing.most < context.clean->N()))
    listed = masked_positions(routing.masks, routing.most);
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const Site& site = d.sites[i];
    SitePass p{.V = context.components->V(i),
               .U = context.components->U(i),
               .importance = site.columns(context.importance),
               .importance_gradient = {},
               .sources = sources(i),
               .routing = {},
               .masked = !routing.layerwise || pass == i};
    if (context.importance_gradient.defined())
      p.importance_gradient = site.columns(context.importance_gradient);
    if (!listed.empty() && !site.embedding) {
      p.routing.positions = listed[i].positions;
      p.routing.places = listed[i].places;
    } else if (routing.masks.defined()) {
      p.routing.masked = routing.masks[static_cast<std::int64_t>(i)];
    }
    if (!d.delta_component) p.sources.fixed_delta = 0.0;
    passes.push_back(std::move(p));
  }
  return passes;
}

at::Tensor reconstruct(const PassContext& context, const SourceOf& sources, const RoutingDraw& routing,
                       double seed, Comparison comparison) {
  const Decomposition& d = *context.decomposition;
  const CleanPass& clean = *context.clean;
  const std::size_t count = routing.passes(d.sites);
  const double share = 1.0 / static_cast<double>(count);
  const bool hidden_acts = comparison == Comparison::hidden_acts;
  const Divergence divergence =
      comparison == Comparison::squared_error ? Divergence::mse : d.target->divergence();
  at::Tensor total;
  for (std::size_t pass = 0; pass < count; ++pass) {
    const std::vector<SitePass> passes = site_passes(context, sources, routing, pass);
    MaskedExecutor executor(d.sites, passes, /*keep_outputs=*/hidden_acts);
    const at::AutoGradMode record(seed != 0.0);
    const at::Tensor hidden = d.target->hidden(clean.input, executor, clean.start);
    at::Tensor sum;
    if (hidden_acts) {
      if (!d.frozen_head()) d.target->output(hidden, executor);  // it may hold sites of its own
      sum = squared_error_of_sites(compared(clean, clean.outputs), compared(clean, executor.outputs),
                                   d.numerics.wide, seed * share);
    } else {
      sum = divergence_from_hidden(d, clean, hidden, executor, seed * share, divergence);
    }
    total = total.defined() ? total.add_(sum) : sum;
  }
  return total.mul_(share);
}

}  // namespace vpd
