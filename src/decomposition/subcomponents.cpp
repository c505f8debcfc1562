#include "vpd/decomposition/subcomponents.hpp"

#include <cmath>

#include "vpd/kernels/random_fill.hpp"

namespace vpd {

ParameterSet make_subcomponents(const Sites& sites, const Numerics& numerics) {
  std::vector<TensorSpec> specs;
  for (const Site& site : sites) {
    specs.push_back({site.name + ".V", {site.d_in, site.C}});
    specs.push_back({site.name + ".U", {site.C, site.d_out}});
  }
  return ParameterSet(std::move(specs), numerics);
}

void initialise_subcomponents(ParameterSet& subcomponents, const Sites& sites, std::uint64_t seed) {
  fill_side_by_side(subcomponents.size(), [&](std::size_t k) {
    const Site& site = sites[k / 2];
    const std::int64_t fan_in = k % 2 == 0 ? site.d_in : site.C;
    fill_normal(subcomponents.value(k), 1.0 / std::sqrt(static_cast<double>(fan_in)),
                make_key(seed, RandomPurpose::initial_components, k / 2, k % 2));
  });
  subcomponents.refresh();
}

}  // namespace vpd
