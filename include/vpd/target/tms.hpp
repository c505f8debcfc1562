#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/config/toys.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of a toy model of superposition's state dict: linear1.weight [h, n], hidden_layers.<i>.weight
/// [h, h], linear2.weight [n, h] and linear2.bias [n], with n features and width h.
std::vector<TensorSpec> tms_weights(const TmsConfig& config);

/// What a toy model of superposition of these shapes is made of.
Architecture tms_architecture(const TmsConfig& config);

/// The toy model of superposition (method, section 8): ReLU(W2 H_k … H_1 W1 x + b). W2 = W1ᵀ is a rule of its
/// training; here the two are matrices, and sites, of their own.
class Tms final : public Target {
 public:
  /// `weights` {name: float tensor} as tms_weights() lists them; gradients, when given, under the same names
  /// and wide. Throws UsageError on a missing name.
  Tms(const TmsConfig& config, const NamedTensors& weights, const Numerics& numerics,
      const NamedTensors& gradients = {});

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  /// features [B, n] -> [B, n], the output itself.
  at::Tensor hidden(const at::Tensor& features, Executor& executor, const PassStart& start) const override;
  Divergence divergence() const override { return Divergence::mse; }
  std::int64_t vocabulary_size() const override { return 0; }
  std::int64_t longest_sequence() const override { return 1; }
  std::int64_t features() const override { return config_.n_features; }
  const TmsConfig& config() const { return config_; }

 private:
  TmsConfig config_;
  std::vector<Matrix> matrices_;  // linear1, the hidden ones, linear2
};

/// Weights to train from: linear1 from U(-1/sqrt(n), 1/sqrt(n)), linear2 its transpose, b = 0, and the hidden
/// matrices as the configuration says. float32 on the CPU.
NamedTensors initial_tms(const TmsConfig& config, std::uint64_t seed);

/// Shapes alone, without reading weights. DataError where the weight file's header does not list every weight
/// with its shape.
TmsConfig describe_tms(const std::filesystem::path& directory, std::vector<std::string>& warnings);

/// The configuration and weights in a directory with model_config.{yaml,json} beside one .safetensors file.
/// Throws DataError; see load_target().
std::pair<TmsConfig, NamedTensors> read_tms(const std::filesystem::path& directory,
                                            std::vector<std::string>& warnings);

}  // namespace vpd
