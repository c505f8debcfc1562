#pragma once

#include <cstdint>
#include <vector>

#include "vpd/decomposition/sites.hpp"
#include "vpd/ops/parameter_set.hpp"

namespace vpd {

/// U and V of every site as operations see them: with gradient buffers, or frozen.
class BoundSubcomponents {
 public:
  BoundSubcomponents() = default;
  explicit BoundSubcomponents(std::vector<Parameter> parameters) : parameters_(std::move(parameters)) {}

  const Parameter& V(std::size_t site) const { return parameters_[2 * site]; }      ///< [d_in, C]
  const Parameter& U(std::size_t site) const { return parameters_[2 * site + 1]; }  ///< [C, d_out]

 private:
  std::vector<Parameter> parameters_;
};

/// The subcomponents' parameters, wide, named "<site>.V" and "<site>.U" and in that order. W ≈ (V U)ᵀ
/// (method, section 2).
class Subcomponents : public ParameterSet {
 public:
  Subcomponents() = default;
  Subcomponents(const Sites& sites, const Numerics& numerics);

  /// Views of the masters.
  at::Tensor V(std::size_t site) const { return value(2 * site); }      ///< [d_in, C]
  at::Tensor U(std::size_t site) const { return value(2 * site + 1); }  ///< [C, d_out]

  /// V ~ N(0, 1 / d_in), U ~ N(0, 1 / C). The same on every device.
  void initialise(const Sites& sites, std::uint64_t seed);

  /// `gradient` as make_gradient() gives it; undefined: frozen.
  BoundSubcomponents bind(const at::Tensor& gradient) const {
    return BoundSubcomponents(ParameterSet::bind(gradient));
  }
};

}  // namespace vpd
