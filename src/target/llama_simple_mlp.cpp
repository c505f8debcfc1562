#include "vpd/target/llama_simple_mlp.hpp"

#include <algorithm>
#include <array>

#include <ATen/ATen.h>

#include "named_weights.hpp"
#include "residual_stream.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

constexpr std::array<const char*, 6> simple_mlp_matrices = {"attn.q_proj", "attn.k_proj", "attn.v_proj",
                                                            "attn.o_proj", "mlp.c_fc",    "mlp.down_proj"};

std::int64_t longest_sequence(const LlamaSimpleMlpConfig& config) {
  return std::max(config.block_size, config.n_ctx.value_or(config.block_size));
}

}  // namespace

std::vector<TensorSpec> llama_simple_mlp_weights(const LlamaSimpleMlpConfig& c, bool untied_head) {
  const std::int64_t d = c.n_embd, kv = c.n_key_value_heads * c.head_dim(), wide = c.n_intermediate;
  std::vector<TensorSpec> specs = {{"wte.weight", {c.vocab_size, d}}};
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    const std::string h = fmt::format("h.{}.", i);
    const auto matrix = [&](const char* name, std::int64_t rows, std::int64_t columns, bool bias) {
      specs.push_back({h + name + ".weight", {rows, columns}});
      if (bias) specs.push_back({h + name + ".bias", {rows}});
    };
    specs.push_back({h + "rms_1.weight", {d}});
    matrix("attn.q_proj", d, d, c.attn_bias);
    matrix("attn.k_proj", kv, d, c.attn_bias);
    matrix("attn.v_proj", kv, d, c.attn_bias);
    matrix("attn.o_proj", d, d, c.attn_bias);
    specs.push_back({h + "rms_2.weight", {d}});
    matrix("mlp.c_fc", wide, d, c.mlp_bias);
    matrix("mlp.down_proj", d, wide, c.mlp_bias);
  }
  specs.push_back({"ln_f.weight", {d}});
  if (untied_head) specs.push_back({"lm_head.weight", {c.vocab_size, d}});
  return specs;
}

Architecture llama_simple_mlp_architecture(const LlamaSimpleMlpConfig& c, bool untied_head) {
  const std::int64_t d = c.n_embd, kv = c.n_key_value_heads * c.head_dim(), wide = c.n_intermediate;
  const AttentionShape attention{c.n_head, c.n_key_value_heads, c.head_dim()};
  Architecture architecture{.output_width = c.vocab_size, .longest_sequence = longest_sequence(c)};
  architecture.add_stage({{"wte", c.vocab_size, d, /*in_block=*/false, /*embedding=*/true}}, 0);
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    architecture.begin_block();
    const auto name = [&](std::size_t which) {
      return fmt::format("h.{}.{}", i, simple_mlp_matrices[which]);
    };
    architecture.add_stage({{name(0), d, d}, {name(1), d, kv}, {name(2), d, kv}}, d);
    architecture.add_stage({{name(3), d, d}}, 0, attention);
    architecture.add_stage({{name(4), d, wide}}, d);
    architecture.add_stage({{name(5), wide, d}}, wide);
  }
  architecture.begin_block();
  architecture.add_stage({{"lm_head", d, c.vocab_size, /*in_block=*/false}}, d);
  architecture.parameters = count_elements(llama_simple_mlp_weights(c, untied_head));
  return architecture;
}

LlamaSimpleMlp::LlamaSimpleMlp(const LlamaSimpleMlpConfig& config, const NamedTensors& weights,
                               const Numerics& numerics, const NamedTensors& gradients)
    : Target(numerics), config_(config), longest_(vpd::longest_sequence(config)) {
  const NamedWeights source("LlamaSimpleMLP", weights, gradients, numerics);
  const Parameter table = source.vector("wte.weight");
  matrices_.push_back(embedding_matrix("wte", table));
  ln_f_ = source.vector("ln_f.weight");
  for (std::int64_t i = 0; i < config.n_layer; ++i) {
    const std::string h = fmt::format("h.{}.", i);
    blocks_.push_back(
        {source.vector(h + "rms_1.weight"), source.vector(h + "rms_2.weight"), matrices_.size()});
    for (const char* name : simple_mlp_matrices) matrices_.push_back(source.site(h + name, matrices_.size()));
  }
  matrices_.push_back(source.head(source.has("lm_head.weight") ? nullptr : &table, matrices_.size()));
  // As in the original code, positions from n_ctx on have the angles of the last one before it.
  const std::int64_t angles = config.n_ctx.value_or(config.block_size);
  rotary_ = make_rotary_table(angles, config.head_dim(), config.rotary_base, config.rotary_adjacent_pairs,
                              numerics.wide, numerics.device);
  for (at::Tensor* part : {&rotary_.cosine, &rotary_.sine}) {
    if (longest_ == angles) break;
    *part = at::cat({*part, part->narrow(0, angles - 1, 1).expand({longest_ - angles, -1})});
  }
}

std::size_t LlamaSimpleMlp::block_of(const Matrix& matrix) const {
  return matrix.index == 0 ? 0 : (matrix.index - 1) / simple_mlp_matrices.size();
}

std::optional<Anatomy> LlamaSimpleMlp::anatomy() const {
  const auto norm = [&](const Parameter& weight) {
    return NormParts{&weight, nullptr, config_.rms_norm_eps};
  };
  Anatomy anatomy{.last = norm(ln_f_), .head = matrices_.size() - 1};
  for (const Block& block : blocks_) {
    const std::size_t i = block.first_matrix;
    anatomy.blocks.push_back(
        {.attention = AttentionParts{.norm = norm(block.rms_1),
                                     .q = i,
                                     .k = i + 1,
                                     .v = i + 2,
                                     .o = i + 3,
                                     .shape = {config_.n_head, config_.n_key_value_heads, config_.head_dim()},
                                     .rotary = [this](std::int64_t T) { return rotary_.rows(0, T); }},
         .mlp = MlpParts{
             .norm = norm(block.rms_2), .in = i + 4, .out = i + 5, .activation = Activation::gelu_tanh}});
  }
  return anatomy;
}

at::Tensor LlamaSimpleMlp::hidden(const at::Tensor& tokens, Executor& executor,
                                  const PassStart& start) const {
  const std::int64_t B = tokens.size(0), T = tokens.size(1);
  check_length(start.position + T);
  const RotaryTable table = rotary_.rows(start.position, T);
  const RmsNorms norms{config_.rms_norm_eps, numerics().compute};
  ResidualStream stream(executor, start, norms.before(blocks_, &Block::rms_1, ln_f_),
                        [&] { return executor.embedding(matrices_.front(), tokens.reshape({B * T})); });
  for (std::size_t b = start.first_block(); b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    const auto apply = [&](std::size_t i, const at::Tensor& input) {
      return executor.linear(matrices_[block.first_matrix + i], input);
    };
    const at::Tensor q = rotary(apply(0, stream.norm()), table), k = rotary(apply(1, stream.norm()), table),
                     v = apply(2, stream.norm());
    const at::Tensor mixed =
        executor.attention({b, q, k, v, B, config_.n_head, config_.n_key_value_heads, /*causal=*/true});
    stream.add(apply(3, mixed), norms.at(b, NormPlace::mlp, block.rms_2));
    stream.end_block(b, apply(5, executor.activation(Activation::gelu_tanh, apply(4, stream.norm()))));
  }
  return stream.norm();
}

}  // namespace vpd
