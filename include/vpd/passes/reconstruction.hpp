#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/plan.hpp"
#include "vpd/kernels/gate.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd {

/// Where a masked forward pass reads importances and leaves gradients.
struct PassContext {
  const Decomposition* decomposition = nullptr;
  const CleanPass* clean = nullptr;
  at::Tensor importance;                           ///< wide, or in the type of activations, [N, Σ C]: z or g
  at::Tensor importance_gradient;                  ///< wide [N, Σ C], added to; undefined: not wanted
  const BoundSubcomponents* components = nullptr;  ///< bound to gradients, or frozen
  std::int64_t first_row = 0;  ///< number of this pass's first position in the global batch
};

/// The sources of site i in one pass.
using SourceOf = std::function<GateSources(std::size_t site)>;

/// Random sources of every site; two keys never meet.
SourceOf random_sources(const PassContext& context, SourceDistribution distribution, const LateKey& key);
/// Constant sources: masks g + (1 - g) r, Δ-mask `delta`.
SourceOf constant_sources(double r, double delta);
/// The same sources with that Δ-mask at every position, where there is one.
SourceOf with_delta(SourceOf sources, std::optional<double> delta);

/// Draws routing (method, section 4). For `layerwise` there are L passes, in which `masked_only` of pass i is
/// site i.
struct RoutingDraw {
  at::Tensor masks;  ///< uint8 [L, N], or undefined: everywhere
  /// At how many positions a site is masked at most (most_masked_positions).
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  bool layerwise = false;
  std::size_t passes(const Sites& sites) const { return layerwise ? sites.size() : 1; }
};
/// The share of positions at which each of L sites is masked, on average.
double masked_share(const RoutingConfig& config, std::int64_t L);
/// At how many of N positions any one site is masked at most: eight standard deviations above the mean, which
/// chance passes once in 10^15 draws, rounded up to what products like.
std::int64_t most_masked_positions(double share, std::int64_t N);
RoutingDraw draw_routing(const RoutingConfig& config, const LateKey& key, const PassContext& context);

/// Forward passes under one draw of sources and routing, and their backward passes where `seed` is not 0.
/// Returns Σ over compared positions of the divergence from the target (zero-dimensional float64), a mean
/// over layerwise passes. Gradients of `seed` times that go where the context and the sources say.
/// `hidden_acts` needs a clean pass that kept the sites' outputs.
at::Tensor reconstruct(const PassContext& context, const SourceOf& sources, const RoutingDraw& routing,
                       double seed, Comparison comparison = Comparison::output);

/// The passes of one forward: shared by reconstruct() and by whoever needs the logits themselves. Where
/// routing is drawn sites get the list of their masked positions.
std::vector<SitePass> site_passes(const PassContext& context, const SourceOf& sources,
                                  const RoutingDraw& routing, std::size_t pass);

}  // namespace vpd
