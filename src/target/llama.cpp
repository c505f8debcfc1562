#include "vpd/target/llama.hpp"

#include <array>
#include <numbers>

#include <ATen/ATen.h>

#include "named_weights.hpp"
#include "residual_stream.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

constexpr std::array<const char*, 7> llama_matrices = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

std::int64_t query_width(const LlamaConfig& c) { return c.num_attention_heads * c.head_width(); }
std::int64_t key_width(const LlamaConfig& c) { return c.key_heads() * c.head_width(); }

}  // namespace

std::vector<TensorSpec> llama_weights(const LlamaConfig& c) {
  const std::int64_t d = c.hidden_size, q = query_width(c), kv = key_width(c), wide = c.intermediate_size;
  std::vector<TensorSpec> specs = {{"embed_tokens.weight", {c.vocab_size, d}}};
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = fmt::format("layers.{}.", i);
    const auto matrix = [&](std::size_t which, std::int64_t rows, std::int64_t columns, bool bias) {
      specs.push_back({layer + llama_matrices[which] + ".weight", {rows, columns}});
      if (bias) specs.push_back({layer + llama_matrices[which] + ".bias", {rows}});
    };
    specs.push_back({layer + "input_layernorm.weight", {d}});
    matrix(0, q, d, c.qkv_bias());
    matrix(1, kv, d, c.qkv_bias());
    matrix(2, kv, d, c.qkv_bias());
    matrix(3, d, q, c.output_bias());
    if (c.head_norms()) {
      specs.push_back({layer + "self_attn.q_norm.weight", {c.head_width()}});
      specs.push_back({layer + "self_attn.k_norm.weight", {c.head_width()}});
    }
    specs.push_back({layer + "post_attention_layernorm.weight", {d}});
    matrix(4, wide, d, c.mlp_bias);
    matrix(5, wide, d, c.mlp_bias);
    matrix(6, d, wide, c.mlp_bias);
  }
  specs.push_back({"norm.weight", {d}});
  if (!c.tie_word_embeddings) specs.push_back({"lm_head.weight", {c.vocab_size, d}});
  return specs;
}

Architecture llama_architecture(const LlamaConfig& c) {
  const std::int64_t d = c.hidden_size, q = query_width(c), kv = key_width(c), wide = c.intermediate_size;
  const AttentionShape attention{c.num_attention_heads, c.key_heads(), c.head_width()};
  Architecture architecture{.output_width = c.vocab_size, .longest_sequence = c.max_position_embeddings};
  architecture.add_stage({{"embed_tokens", c.vocab_size, d, /*in_block=*/false, /*embedding=*/true}}, 0);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    architecture.begin_block();
    const auto name = [&](std::size_t which) {
      return fmt::format("layers.{}.{}", i, llama_matrices[which]);
    };
    architecture.add_stage({{name(0), d, q}, {name(1), d, kv}, {name(2), d, kv}}, d);
    architecture.add_stage({{name(3), q, d}}, c.head_norms() ? q + kv : 0, attention);
    architecture.add_stage({{name(4), d, wide}, {name(5), d, wide}}, d);
    architecture.add_stage({{name(6), wide, d}}, 2 * wide);
  }
  architecture.begin_block();
  architecture.add_stage({{"lm_head", d, c.vocab_size, /*in_block=*/false}}, d);
  architecture.parameters = count_elements(llama_weights(c));
  return architecture;
}

at::Tensor rope_frequencies(const RopeParameters& rope, std::int64_t head_width,
                            const at::TensorOptions& options) {
  // In float32 checkpoints' own arithmetic: a rounding of a fast pair is an angle further on.
  const at::Tensor exponent = at::arange(0, head_width, 2, options) / static_cast<double>(head_width);
  const at::Tensor frequency = at::reciprocal(at::pow(rope.rope_theta, exponent));
  if (rope.rope_type == RopeType::standard) return frequency;
  const at::Tensor stretched = frequency / *rope.factor;
  if (rope.rope_type == RopeType::linear) return stretched;
  // How often a pair turns within the original context decides: more than high_freq_factor times, and it
  // stays; less than low_freq_factor times, and it is stretched; in between it is a mixture.
  const double context = static_cast<double>(*rope.original_max_position_embeddings);
  const double low = *rope.low_freq_factor, high = *rope.high_freq_factor;
  const at::Tensor turns = frequency * (context / (2.0 * std::numbers::pi));
  const at::Tensor stays = at::clamp((turns - low) / (high - low), 0.0, 1.0);
  return frequency * stays + stretched * (1.0 - stays);
}

Llama::Llama(const LlamaConfig& config, const NamedTensors& weights, const Numerics& numerics)
    : Target(numerics),
      config_(config),
      frequency_(rope_frequencies(config.rope, config.head_width(), numerics.options())) {
  const NamedTensors no_gradients;
  const std::string family = family_of(config);
  const NamedWeights source(family, weights, no_gradients, numerics);
  const Parameter table = source.vector("embed_tokens.weight");
  matrices_.push_back(embedding_matrix("embed_tokens", table));
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = fmt::format("layers.{}.", i);
    Block block{source.vector(layer + "input_layernorm.weight"),
                source.vector(layer + "post_attention_layernorm.weight"),
                {},
                {},
                matrices_.size()};
    if (config.head_norms()) {
      block.q_norm = source.vector(layer + "self_attn.q_norm.weight");
      block.k_norm = source.vector(layer + "self_attn.k_norm.weight");
    }
    blocks_.push_back(std::move(block));
    for (const char* name : llama_matrices) matrices_.push_back(source.site(layer + name, matrices_.size()));
  }
  norm_ = source.vector("norm.weight");
  matrices_.push_back(source.head(config.tie_word_embeddings ? &table : nullptr, matrices_.size()));
}

std::size_t Llama::block_of(const Matrix& matrix) const {
  return matrix.index == 0 ? 0 : (matrix.index - 1) / llama_matrices.size();
}

std::optional<Anatomy> Llama::anatomy() const {
  const auto norm = [&](const Parameter& weight) {
    return weight.value.defined() ? NormParts{&weight, nullptr, config_.rms_norm_eps} : NormParts{};
  };
  Anatomy anatomy{.last = norm(norm_), .head = matrices_.size() - 1};
  const AttentionShape shape{config_.num_attention_heads, config_.key_heads(), config_.head_width()};
  for (const Block& block : blocks_) {
    const std::size_t i = block.first_matrix;
    anatomy.blocks.push_back(
        {.attention = AttentionParts{.norm = norm(block.norm_1),
                                     .q = i,
                                     .k = i + 1,
                                     .v = i + 2,
                                     .o = i + 3,
                                     .shape = shape,
                                     .q_norm = norm(block.q_norm),
                                     .k_norm = norm(block.k_norm),
                                     .rotary = [this](std::int64_t T) { return tables_.of(T); }},
         .mlp = MlpParts{.norm = norm(block.norm_2),
                         .gate = i + 4,
                         .in = i + 5,
                         .out = i + 6,
                         .activation = Activation::silu}});
  }
  return anatomy;
}

at::Tensor Llama::hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const {
  const std::int64_t B = tokens.size(0), T = tokens.size(1);
  check_length(start.position + T);
  const RotaryTable table = tables_.of(start.position + T).rows(start.position, T);
  const RmsNorms norms{config_.rms_norm_eps, numerics().compute};
  // Heads [N, K d_head], normalised each where there is a norm for it, turned.
  const auto turned = [&](const at::Tensor& heads, std::size_t b, NormPlace place, const Parameter& norm) {
    if (!norm.value.defined()) return rotary(heads, table);
    const at::Tensor each = executor.norm(norms.at(b, place, norm), heads.view({-1, config_.head_width()}));
    return rotary(each.view(heads.sizes()), table);
  };
  ResidualStream stream(executor, start, norms.before(blocks_, &Block::norm_1, norm_),
                        [&] { return executor.embedding(matrices_.front(), tokens.reshape({B * T})); });
  for (std::size_t b = start.first_block(); b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    const auto apply = [&](std::size_t i, const at::Tensor& input) {
      return executor.linear(matrices_[block.first_matrix + i], input);
    };
    const at::Tensor q = turned(apply(0, stream.norm()), b, NormPlace::query, block.q_norm),
                     k = turned(apply(1, stream.norm()), b, NormPlace::key, block.k_norm),
                     v = apply(2, stream.norm());
    const at::Tensor mixed = executor.attention(
        {b, q, k, v, B, config_.num_attention_heads, config_.key_heads(), /*causal=*/true});
    stream.add(apply(3, mixed), norms.at(b, NormPlace::mlp, block.norm_2));
    const at::Tensor gate = apply(4, stream.norm()), up = apply(5, stream.norm());
    stream.end_block(b, apply(6, executor.gated(gate, up)));
  }
  return stream.norm();
}

}  // namespace vpd
