#pragma once

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "vpd/kernels/philox.hpp"

namespace vpd {

/// Draws of a target's first weights, one after another: float32 on the CPU, the same for the same seed.
class InitialWeights {
 public:
  explicit InitialWeights(std::uint64_t seed) {
    const RandomKey key = make_key(seed, RandomPurpose::initial_target);
    generator_ = at::detail::createCPUGenerator((static_cast<std::uint64_t>(key.high) << 32) | key.low);
  }

  at::Tensor normal(at::IntArrayRef shape, double deviation) {
    return at::empty(shape, at::kFloat).normal_(0.0, deviation, generator_);
  }
  /// U(-1/sqrt(fan_in), 1/sqrt(fan_in)), LibTorch's default for a linear layer.
  at::Tensor uniform(at::IntArrayRef shape, std::int64_t fan_in) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
    return at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_);
  }

 private:
  at::Generator generator_;
};

}  // namespace vpd
