#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "vpd/config/llama_simple_mlp.hpp"
#include "vpd/io/safetensors.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of a LlamaSimpleMLP's state dict (method, section 8), the untied head last when there is one.
std::vector<TensorSpec> llama_simple_mlp_weights(const LlamaSimpleMlpConfig& config, bool untied_head);

/// What a LlamaSimpleMLP of these shapes is made of.
Architecture llama_simple_mlp_architecture(const LlamaSimpleMlpConfig& config, bool untied_head);

/// LlamaSimpleMLP, the family of the published 67M-parameter target: per block x += attn(rms_1(x)), x +=
/// mlp(rms_2(x)), with rotary embedding, grouped key and value heads, GELU in its tanh form and a head that
/// may be tied to the embedding.
class LlamaSimpleMlp final : public Target {
 public:
  /// `weights` {name: float tensor} as llama_simple_mlp_weights() lists them; gradients, when given, under
  /// the same names and in float32 (a tied head shares the embedding's). Throws UsageError on a missing name.
  LlamaSimpleMlp(const LlamaSimpleMlpConfig& config, const NamedTensors& weights, const Numerics& numerics,
                 const NamedTensors& gradients = {});

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  at::Tensor hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const override;
  std::size_t blocks() const override { return blocks_.size(); }
  std::size_t block_of(const Matrix& matrix) const override;
  std::optional<Anatomy> anatomy() const override;
  const Matrix* head() const override { return &matrices_.back(); }
  std::int64_t vocabulary_size() const override { return config_.vocab_size; }
  std::int64_t longest_sequence() const override { return longest_; }
  const LlamaSimpleMlpConfig& config() const { return config_; }

 private:
  struct Block {
    Parameter rms_1, rms_2;
    std::size_t first_matrix;  // q, k, v, o, c_fc, down_proj follow each other
  };

  LlamaSimpleMlpConfig config_;
  std::int64_t longest_;
  Parameter ln_f_;
  std::vector<Block> blocks_;
  std::vector<Matrix> matrices_;
  RotaryTable rotary_;
};

/// The weights in a directory with model_config.{yaml,json} beside one .safetensors file, as float32 on the
/// CPU, and their configuration. Throws DataError; see load_target().
struct LlamaSimpleMlpCheckpoint {
  LlamaSimpleMlpConfig config;
  NamedTensors weights;
  std::filesystem::path weights_file;
};
LlamaSimpleMlpCheckpoint read_llama_simple_mlp(const std::filesystem::path& directory,
                                               std::vector<std::string>& warnings);

/// Shapes alone, without reading weights: the configuration and whether the head is untied. DataError where
/// the weight file's header does not list every weight with its shape.
std::pair<LlamaSimpleMlpConfig, bool> describe_llama_simple_mlp(const std::filesystem::path& directory,
                                                                std::vector<std::string>& warnings);

/// Weights as the published model's training starts from: N(0, 0.02²), o_proj and down_proj scaled by 1 /
/// sqrt(2 n_layer), norms 1, biases 0; the head tied. float32 on the CPU.
NamedTensors initial_llama_simple_mlp(const LlamaSimpleMlpConfig& config, std::uint64_t seed);

/// Writes model_config.json and model.safetensors into `directory`, making it.
void write_llama_simple_mlp(const std::filesystem::path& directory, const LlamaSimpleMlpConfig& config,
                            const NamedTensors& weights);

}  // namespace vpd
