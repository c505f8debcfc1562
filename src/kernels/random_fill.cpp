#include "vpd/kernels/random_fill.hpp"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "vpd/kernels/ascent.hpp"

namespace vpd {

at::Generator generator_of(RandomKey key) {
  return at::detail::createCPUGenerator((static_cast<std::uint64_t>(key.high) << 32) | key.low);
}

void fill_side_by_side(std::size_t count, const std::function<void(std::size_t)>& fill) {
  at::parallel_for(0, static_cast<std::int64_t>(count), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) fill(static_cast<std::size_t>(i));
  });
}

void fill_normal(const at::Tensor& x, double deviation, RandomKey key) {
  at::Tensor values = at::empty(x.sizes(), at::kFloat);
  values.normal_(0.0, deviation, generator_of(key));
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

}  // namespace vpd
