#include "vpd/adversary/fresh.hpp"

#include <ATen/ATen.h>

#include "vpd/kernels/ascent.hpp"

namespace vpd {

FreshSources start_fresh(const FreshAdversaryConfig& config, const Sites& sites, std::int64_t B,
                         std::int64_t T, const LateKey& key, const Numerics& numerics) {
  FreshSources sources;
  const bool shared = config.scope == FreshScope::shared_across_batch;
  sources.layout = make_layout(sites, shared ? 1 : B, shared ? 1 : T);
  sources.values = at::zeros({sources.layout.rows(), sources.layout.columns}, numerics.options());
  if (config.init == FreshInit::ones) sources.values.fill_(1.0);
  if (config.init == FreshInit::random) draw_sources(sources.values, sources.layout, key, 0);
  sources.gradient = at::zeros_like(sources.values);
  return sources;
}

void step_fresh(const FreshSources& sources, double step_size) {
  ascend(sources.values, sources.gradient, {}, {}, {.adam = false, .rate = step_size});
  at::Tensor(sources.gradient).zero_();
}

SourceOf use_fresh(const FreshSources& sources, std::int64_t first_batch, std::int64_t T,
                   const at::Tensor& gradient) {
  SourceDestination destination;
  if (gradient.defined()) destination = SourceGradient{gradient};
  return read_sources(sources.layout, sources.values, T, first_batch, destination);
}

}  // namespace vpd
