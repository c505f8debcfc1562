#pragma once

#include <cmath>

#include <ATen/ATen.h>

#include "vpd/kernels/random_fill.hpp"

namespace vpd {

/// Draws of a target's first weights, one after another: float32 on the CPU, the same for the same seed.
class InitialWeights {
 public:
  explicit InitialWeights(std::uint64_t seed)
      : generator_(generator_of(make_key(seed, RandomPurpose::initial_target))) {}

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
