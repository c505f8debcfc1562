#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "vpd/base/error.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/machine/numerics.hpp"
#include "vpd/target/executor.hpp"

namespace vpd {

/// The first of a target's matrices: an embedding of `table` [vocabulary, d], wide.
inline Matrix embedding_matrix(std::string name, const Parameter& table) {
  return {.name = std::move(name),
          .index = 0,
          .in_block = false,
          .embedding = true,
          .weight = {table.value.t(), table.gradient.defined() ? table.gradient.t() : at::Tensor()},
          .bias = {},
          .master = table.value.t()};
}

/// Turns named tensors into parameters on the run's device.
class NamedWeights {
 public:
  /// `family` names the model in errors. Everything given must outlive this.
  NamedWeights(std::string_view family, const NamedTensors& weights, const NamedTensors& gradients,
               const Numerics& numerics)
      : family_(family), weights_(weights), gradients_(gradients), numerics_(numerics) {}

  bool has(std::string_view name) const { return find(weights_, name) != nullptr; }

  /// On the device, wide.
  at::Tensor master(const std::string& name) const {
    const at::Tensor* weight = find(weights_, name);
    VPD_CHECK(weight, UsageError, "{}: expected a weight named {}", family_, name);
    return weight->to(numerics_.device, numerics_.wide);
  }

  /// Wide, as what is no factor of a matrix product is: norms, embeddings.
  Parameter vector(const std::string& name) const { return {master(name), gradient(name)}; }

  Parameter matrix(const std::string& name) const {
    return {master(name).to(numerics_.compute), gradient(name)};
  }

  /// "<name>.weight", and "<name>.bias" where there is one.
  Matrix site(const std::string& name, std::size_t index) const {
    const at::Tensor weight = master(name + ".weight");
    Matrix matrix{.name = name,
                  .index = index,
                  .weight = {weight.to(numerics_.compute), gradient(name + ".weight")},
                  .bias = {},
                  .master = weight};
    if (has(name + ".bias")) matrix.bias = this->matrix(name + ".bias");
    return matrix;
  }

  /// The head of a language model: "lm_head.weight", or the embedding [V, d] that it is tied to.
  Matrix head(const Parameter* tied, std::size_t index) const {
    Matrix matrix;
    if (!tied) {
      matrix = site("lm_head", index);
    } else {
      matrix = {.name = "lm_head",
                .index = index,
                .weight = {tied->value.to(numerics_.compute), tied->gradient},
                .bias = {},
                .master = tied->value};
    }
    matrix.in_block = false;
    return matrix;
  }

 private:
  static const at::Tensor* find(const NamedTensors& tensors, std::string_view name) {
    for (const auto& [other, tensor] : tensors) {
      if (other == name) return &tensor;
    }
    return nullptr;
  }

  at::Tensor gradient(const std::string& name) const {
    const at::Tensor* gradient = find(gradients_, name);
    return gradient ? *gradient : at::Tensor();
  }

  std::string_view family_;
  const NamedTensors& weights_;
  const NamedTensors& gradients_;
  const Numerics& numerics_;
};

}  // namespace vpd
