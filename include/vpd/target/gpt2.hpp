#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/io/safetensors.hpp"
#include "vpd/target/huggingface_config.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of a GPT-2 as the target takes it, an untied head last: names and [d_out, d_in] as elsewhere
/// in this program, where checkpoints store transposed matrices, and q, k and v in one (docs/targets.md).
std::vector<TensorSpec> gpt2_weights(const Gpt2Config& config);

Architecture gpt2_architecture(const Gpt2Config& config);

/// The GPT-2 family: learned positions; per block x += attn(ln_1(x)), x += mlp(ln_2(x)), with LayerNorm,
/// biases everywhere and GELU; a head that may be tied to the embedding.
class Gpt2 final : public Target {
 public:
  /// `weights` {name: float tensor} as gpt2_weights() lists them. Throws UsageError on a missing name.
  Gpt2(const Gpt2Config& config, const NamedTensors& weights, const Numerics& numerics);

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  at::Tensor hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const override;
  std::size_t blocks() const override { return blocks_.size(); }
  std::size_t block_of(const Matrix& matrix) const override;
  std::optional<Anatomy> anatomy() const override;
  const Matrix* head() const override { return &matrices_.back(); }
  std::int64_t vocabulary_size() const override { return config_.vocab_size; }
  std::int64_t longest_sequence() const override { return config_.n_positions; }
  const Gpt2Config& config() const { return config_; }

 private:
  struct Norm {
    Parameter weight, bias;  // [d], wide
  };
  struct Block {
    Norm ln_1, ln_2;
    std::size_t first_matrix;  // q, k, v, attn.c_proj, mlp.c_fc, mlp.c_proj follow each other
  };

  Gpt2Config config_;
  at::Tensor positions_;  // [n_positions, d], wide
  Norm ln_f_;
  std::vector<Block> blocks_;
  std::vector<Matrix> matrices_;
};

}  // namespace vpd
