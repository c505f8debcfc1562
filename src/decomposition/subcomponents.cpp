#include "vpd/decomposition/subcomponents.hpp"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "vpd/kernels/ascent.hpp"

namespace vpd {

ParameterSet make_subcomponents(const Sites& sites, const Numerics& numerics) {
  std::vector<ParameterSpec> specs;
  for (const Site& site : sites) {
    specs.push_back({site.name + ".V", {site.d_in, site.C}});
    specs.push_back({site.name + ".U", {site.C, site.d_out}});
  }
  return ParameterSet(std::move(specs), numerics);
}

void fill_side_by_side(std::size_t count, const std::function<void(std::size_t)>& fill) {
  at::parallel_for(0, static_cast<std::int64_t>(count), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) fill(static_cast<std::size_t>(i));
  });
}

void fill_normal(const at::Tensor& x, double deviation, RandomKey key) {
  auto generator = at::detail::createCPUGenerator((static_cast<std::uint64_t>(key.high) << 32) | key.low);
  at::Tensor values = at::empty(x.sizes(), at::kFloat);
  values.normal_(0.0, deviation, generator);
  at::Tensor target = x;
  target.copy_(values);
}

void fill_symmetric(const at::Tensor& x, std::int64_t fan_in, RandomKey key) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  at::Tensor uniform = at::empty({1, x.numel()}, at::kFloat);
  fill_uniform(uniform, key);
  at::Tensor target = x;
  target.copy_(uniform.mul_(2 * bound).sub_(bound).view(x.sizes()));
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
