#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "vpd/config/toys.hpp"
#include "vpd/target/checkpoint.hpp"
#include "vpd/target/target.hpp"

namespace vpd {

/// Every tensor of an induction-head toy's state dict: token_embed.weight [vocab, d], per block
/// blocks.<i>.attn.{q,k,v,out}_proj.weight [d, d], and unembed.weight [vocab, d].
std::vector<TensorSpec> induction_weights(const InductionConfig& config);

/// What an induction-head toy of these shapes is made of.
Architecture induction_architecture(const InductionConfig& config);

/// The induction-head toy (method, section 8): a transformer of attention alone, x += out_proj attn(q, k, v),
/// without norms and biases. Positions are told to attention only: a fixed table of sines and cosines is
/// added to q and k, so that the residual stream speaks of tokens alone and what a head copies is
/// position-free.
class InductionTransformer final : public Target {
 public:
  /// `weights` {name: float tensor} as induction_weights() lists them; gradients, when given, under the same
  /// names and wide. Throws UsageError on a missing name.
  InductionTransformer(const InductionConfig& config, const NamedTensors& weights, const Numerics& numerics,
                       const NamedTensors& gradients = {});

  const std::vector<Matrix>& matrices() const override { return matrices_; }
  at::Tensor hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const override;
  std::size_t blocks() const override { return static_cast<std::size_t>(config_.n_layers); }
  std::size_t block_of(const Matrix& matrix) const override;
  std::optional<Anatomy> anatomy() const override;
  const Matrix* head() const override { return &matrices_.back(); }
  bool predicts_next_token() const override { return false; }  // but what the last token stands for
  std::int64_t vocabulary_size() const override { return config_.vocab_size; }
  std::int64_t longest_sequence() const override { return config_.block_size; }
  const InductionConfig& config() const { return config_; }

 private:
  InductionConfig config_;
  std::vector<Matrix> matrices_;  // the embedding, q, k, v and out of each block, the head
  at::Tensor positions_;          // [block_size, d], in the type of matrix products
};

/// Where the first S of each row stands, and what stands behind it, m: int64 [B] on the tokens' device, of
/// rows [B, T] in which S, the last token of the vocabulary, comes twice, the second time at the end.
at::Tensor induction_first_positions(const at::Tensor& tokens, const InductionConfig& config);
at::Tensor induction_answers(const at::Tensor& tokens, const InductionConfig& config);

/// Weights to train from: token_embed from N(0, 1), all others from U(-1/sqrt(d), 1/sqrt(d)). float32 on the
/// CPU.
NamedTensors initial_induction(const InductionConfig& config, std::uint64_t seed);

/// Shapes alone, without reading weights. DataError where the weight file's header does not list every weight
/// with its shape.
InductionConfig describe_induction(const std::filesystem::path& directory,
                                   std::vector<std::string>& warnings);

/// The configuration and weights in a directory with model_config.{yaml,json} beside one .safetensors file.
/// Throws DataError; see load_target().
std::pair<InductionConfig, NamedTensors> read_induction(const std::filesystem::path& directory,
                                                        std::vector<std::string>& warnings);

}  // namespace vpd
