#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/io/safetensors.hpp"
#include "vpd/target/huggingface_config.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of a Llama, Qwen2 or Qwen3, an untied head last. Names are those of checkpoints without
/// "model." in front (docs/targets.md).
std::vector<TensorSpec> llama_weights(const LlamaConfig& config);

Architecture llama_architecture(const LlamaConfig& config);

/// Angle a position of each pair of a head [d_head / 2], stretched as `rope` says: all of them (`linear`), or
/// the slow ones, with a smooth passage (`llama3`).
at::Tensor rope_frequencies(const RopeParameters& rope, std::int64_t head_width,
                            const at::TensorOptions& options);

/// Llama and what is built like it (Qwen2, Qwen3): per block x += attn(norm(x)), x += mlp(norm(x)), with
/// RMSNorm, rotary embedding, grouped key and value heads, silu(gate) ⊙ up, and a head that may be tied to
/// the embedding.
class Llama final : public Target {
 public:
  /// `weights` {name: float tensor} as llama_weights() lists them. Throws UsageError on a missing name.
  Llama(const LlamaConfig& config, const NamedTensors& weights, const Numerics& numerics);

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  at::Tensor hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const override;
  std::size_t blocks() const override { return blocks_.size(); }
  std::size_t block_of(const Matrix& matrix) const override;
  std::optional<Anatomy> anatomy() const override;
  const Matrix* head() const override { return &matrices_.back(); }
  std::int64_t vocabulary_size() const override { return config_.vocab_size; }
  std::int64_t longest_sequence() const override { return config_.max_position_embeddings; }
  const LlamaConfig& config() const { return config_; }

 private:
  struct Block {
    Parameter norm_1, norm_2;
    Parameter q_norm, k_norm;  // undefined but for Qwen3
    std::size_t first_matrix;  // q, k, v, o, gate, up, down follow each other
  };

  LlamaConfig config_;
  Parameter norm_;
  std::vector<Block> blocks_;
  std::vector<Matrix> matrices_;
  at::Tensor frequency_;
  RotaryTables tables_{
      [this](std::int64_t T) { return make_rotary_table(T, frequency_, /*adjacent=*/false); }};
};

}  // namespace vpd
