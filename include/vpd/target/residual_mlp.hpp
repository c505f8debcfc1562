#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/config/toys.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of a ResidualMLP's state dict: the embedding W_E [n, d] and, per block,
/// layers.<i>.mlp_in.weight [d_mlp, d] and layers.<i>.mlp_out.weight [d, d_mlp]. W_U is W_Eᵀ.
std::vector<TensorSpec> residual_mlp_weights(const ResidualMlpConfig& config);

/// What a ResidualMLP of these shapes is made of.
Architecture residual_mlp_architecture(const ResidualMlpConfig& config);

/// ResidualMLP (method, section 8): r = x W_E; per block r += mlp_out ReLU(mlp_in r); output r W_Eᵀ. The
/// embedding is fixed; it and W_U = W_Eᵀ, the head, are sites only where they are named in full.
class ResidualMlp final : public Target {
 public:
  /// `weights` {name: float tensor} as residual_mlp_weights() lists them; gradients, when given, under the
  /// same names and wide. Throws UsageError on a missing name.
  ResidualMlp(const ResidualMlpConfig& config, const NamedTensors& weights, const Numerics& numerics,
              const NamedTensors& gradients = {});

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  /// features [B, n] -> the residual stream [B, d].
  at::Tensor hidden(const at::Tensor& features, Executor& executor, const PassStart& start) const override;
  std::size_t blocks() const override { return static_cast<std::size_t>(config_.n_layers); }
  std::size_t block_of(const Matrix& matrix) const override;
  std::optional<Anatomy> anatomy() const override;
  const Matrix* head() const override { return &matrices_.back(); }
  Divergence divergence() const override { return Divergence::mse; }
  std::int64_t vocabulary_size() const override { return 0; }
  std::int64_t longest_sequence() const override { return 1; }
  std::int64_t features() const override { return config_.n_features; }
  const ResidualMlpConfig& config() const { return config_; }

 private:
  ResidualMlpConfig config_;
  std::vector<Matrix> matrices_;  // W_E, mlp_in and mlp_out of each block, W_U
};

/// Weights to train from: rows of W_E are random directions of length 1; mlp_in and mlp_out from
/// U(-1/sqrt(d), 1/sqrt(d)) with d their input's width. float32 on the CPU.
NamedTensors initial_residual_mlp(const ResidualMlpConfig& config, std::uint64_t seed);

/// Shapes alone, without reading weights. DataError where the weight file's header does not list every weight
/// with its shape.
ResidualMlpConfig describe_residual_mlp(const std::filesystem::path& directory,
                                        std::vector<std::string>& warnings);

/// The configuration and weights in a directory with model_config.{yaml,json} beside one .safetensors file.
/// Throws DataError; see load_target().
std::pair<ResidualMlpConfig, NamedTensors> read_residual_mlp(const std::filesystem::path& directory,
                                                             std::vector<std::string>& warnings);

}  // namespace vpd
