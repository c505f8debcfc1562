#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/io/safetensors.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/ops/differentiable.hpp"

namespace vpd {

/// Named trainable parameters that lie side by side in one buffer, so that clipping, the optimizer and a
/// reduction over lanes are single passes. Each parameter starts at a multiple of 16 elements; the gaps stay
/// 0.
class ParameterSet {
 public:
  ParameterSet() = default;
  ParameterSet(std::vector<TensorSpec> specs, const Numerics& numerics);

  std::size_t size() const { return specs_.size(); }
  const TensorSpec& spec(std::size_t i) const { return specs_[i]; }
  std::int64_t count() const;  ///< number of parameters, gaps not counted
  std::int64_t offset(std::size_t i) const { return offsets_[i]; }  ///< of parameter i in flat()

  const at::Tensor& flat() const { return flat_; }  ///< [P] wide, the masters
  at::Tensor value(std::size_t i) const { return view(flat_, i); }
  /// [P] in the type of matrix products, what refresh() writes; undefined where that is the masters' own.
  at::Tensor narrow() const { return compute_.is_same(flat_) ? at::Tensor() : compute_; }

  /// A zeroed buffer for gradients, like flat().
  at::Tensor make_gradient() const;
  /// Part i of a buffer like flat().
  at::Tensor view(const at::Tensor& buffer, std::size_t i) const;

  /// The parameters as operations see them: values in the type of matrix products, gradients in `gradient`,
  /// or frozen where that is undefined. `overwrites_gradient` and `deferred`: as in Parameter, of all.
  std::vector<Parameter> bind(const at::Tensor& gradient, bool overwrites_gradient = false,
                              DeferredGradients* deferred = nullptr) const;

  /// Brings the values of the type of matrix products up to date with the masters. Nothing to do where the
  /// types agree.
  void refresh() const;

  NamedTensors named(const at::Tensor& buffer) const;
  /// Takes float32 values from a file, all of them finite and of the right shapes. Unknown tensors are a
  /// DataError.
  void load(const std::filesystem::path& file);

 private:
  std::vector<TensorSpec> specs_;
  std::vector<std::int64_t> offsets_;
  at::Tensor flat_;
  at::Tensor compute_;  // flat_ itself where the types agree
};

}  // namespace vpd
