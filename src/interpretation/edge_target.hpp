#pragma once

// What programs that look at edges share: the value of a target, and targets a few at a time.

#include <algorithm>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "vpd/base/stop.hpp"
#include "vpd/decomposition/columns.hpp"
#include "vpd/interpretation/attribution_graph.hpp"

namespace vpd {

/// F of a target in copy r of a prompt, in a pass that kept what sites read: float64, on the graph.
inline at::Tensor value_of(const Decomposition& d, const EdgeTarget& target, const at::Tensor& input,
                           const std::vector<at::Tensor>& reads, const at::Tensor& output, std::int64_t r) {
  const std::int64_t n = r * positions_of(input) + target.at;
  if (target.logit) return output[n][target.which].to(at::kDouble);
  const SubcomponentId id = subcomponent_at(target.which, d.sites);
  const at::Tensor V = d.components.V(id.site).select(1, id.c).to(at::kDouble);
  const at::Tensor length = d.components.U(id.site)[id.c].to(at::kDouble).norm();
  if (d.sites[id.site].embedding) return V[input[target.at].item<std::int64_t>()] * length;
  return reads[id.site][n].to(at::kDouble).dot(V) * length;
}

/// Calls `compute(first, end)` for parts of 0 to `count`, of a size that is computed at once.
template <class Compute>
void in_chunks(std::size_t count, Lanes& lanes, const StopAsked& stop, const Compute& compute) {
  constexpr std::size_t at_once = 32;
  const std::size_t chunks = (count + at_once - 1) / at_once;
  lanes.run([&](int lane) {
    for (auto k = static_cast<std::size_t>(lane); k < chunks; k += static_cast<std::size_t>(lanes.count())) {
      end_if_asked(stop, "the graph");
      compute(k * at_once, std::min(k * at_once + at_once, count));
    }
  });
}

}  // namespace vpd
