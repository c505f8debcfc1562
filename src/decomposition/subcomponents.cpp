#include "vpd/decomposition/subcomponents.hpp"

#include <cmath>

#include "vpd/kernels/random_fill.hpp"

namespace vpd {

namespace {

std::vector<TensorSpec> specs_of(const Sites& sites) {
  std::vector<TensorSpec> specs;
  for (const Site& site : sites) {
    specs.push_back({site.name + ".V", {site.d_in, site.C}});
    specs.push_back({site.name + ".U", {site.C, site.d_out}});
  }
  return specs;
}

}  // namespace

Subcomponents::Subcomponents(const Sites& sites, const Numerics& numerics)
    : ParameterSet(specs_of(sites), numerics) {}

void Subcomponents::initialise(const Sites& sites, std::uint64_t seed) {
  fill_side_by_side(size(), [&](std::size_t k) {
    const Site& site = sites[k / 2];
    const std::int64_t fan_in = k % 2 == 0 ? site.d_in : site.C;
    fill_normal(value(k), 1.0 / std::sqrt(static_cast<double>(fan_in)),
                make_key(seed, RandomPurpose::initial_components, k / 2, k % 2));
  });
  refresh();
}

}  // namespace vpd
