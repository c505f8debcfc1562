#include "vpd/target/gpt2.hpp"

#include <array>

#include <ATen/ATen.h>

#include "named_weights.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

constexpr std::array<const char*, 6> gpt2_matrices = {"attn.q_proj", "attn.k_proj", "attn.v_proj",
                                                      "attn.c_proj", "mlp.c_fc",    "mlp.c_proj"};

Activation activation_of(const Gpt2Config& c) {
  return c.activation_function == GeluForm::tanh ? Activation::gelu_tanh : Activation::gelu;
}

}  // namespace

std::vector<TensorSpec> gpt2_weights(const Gpt2Config& c) {
  const std::int64_t d = c.n_embd;
  std::vector<TensorSpec> specs = {{"wte.weight", {c.vocab_size, d}}, {"wpe.weight", {c.n_positions, d}}};
  const auto norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {d}});
    specs.push_back({name + ".bias", {d}});
  };
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    const std::string h = fmt::format("h.{}.", i);
    const auto matrix = [&](std::size_t which, std::int64_t rows, std::int64_t columns) {
      specs.push_back({h + gpt2_matrices[which] + ".weight", {rows, columns}});
      specs.push_back({h + gpt2_matrices[which] + ".bias", {rows}});
    };
    norm(h + "ln_1");
    for (std::size_t which = 0; which < 4; ++which) matrix(which, d, d);
    norm(h + "ln_2");
    matrix(4, c.d_mlp(), d);
    matrix(5, d, c.d_mlp());
  }
  norm("ln_f");
  if (!c.tie_word_embeddings) specs.push_back({"lm_head.weight", {c.vocab_size, d}});
  return specs;
}

Architecture gpt2_architecture(const Gpt2Config& c) {
  const std::int64_t d = c.n_embd, wide = c.d_mlp();
  const AttentionShape attention{c.n_head, c.n_head, c.head_width()};
  Architecture architecture{.output_width = c.vocab_size, .longest_sequence = c.n_positions};
  architecture.add_stage({{"wte", c.vocab_size, d, /*in_block=*/false, /*embedding=*/true}}, 0);
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    architecture.begin_block();
    const auto name = [&](std::size_t which) { return fmt::format("h.{}.{}", i, gpt2_matrices[which]); };
    architecture.add_stage({{name(0), d, d}, {name(1), d, d}, {name(2), d, d}}, d);
    architecture.add_stage({{name(3), d, d}}, 0, attention);
    architecture.add_stage({{name(4), d, wide}}, d);
    architecture.add_stage({{name(5), wide, d}}, wide);
  }
  architecture.begin_block();
  architecture.add_stage({{"lm_head", d, c.vocab_size, /*in_block=*/false}}, d);
  architecture.parameters = count_elements(gpt2_weights(c));
  return architecture;
}

Gpt2::Gpt2(const Gpt2Config& config, const NamedTensors& weights, const Numerics& numerics)
    : Target(numerics), config_(config) {
  const NamedTensors no_gradients;
  const NamedWeights source(Gpt2Config::family, weights, no_gradients, numerics);
  const auto norm = [&](const std::string& name) {
    return Norm{{.value = source.master(name + ".weight"), .gradient = {}},
                {.value = source.master(name + ".bias"), .gradient = {}}};
  };
  const Parameter table = source.vector("wte.weight");
  matrices_.push_back(embedding_matrix("wte", table));
  positions_ = source.master("wpe.weight");
  for (std::int64_t i = 0; i < config.n_layer; ++i) {
    const std::string h = fmt::format("h.{}.", i);
    blocks_.push_back({norm(h + "ln_1"), norm(h + "ln_2"), matrices_.size()});
    for (const char* name : gpt2_matrices) matrices_.push_back(source.site(h + name, matrices_.size()));
  }
  ln_f_ = norm("ln_f");
  matrices_.push_back(source.head(config.tie_word_embeddings ? &table : nullptr, matrices_.size()));
}

std::size_t Gpt2::block_of(const Matrix& matrix) const {
  return matrix.index == 0 ? 0 : (matrix.index - 1) / gpt2_matrices.size();
}

std::optional<Anatomy> Gpt2::anatomy() const {
  const auto parts = [&](const Norm& norm) {
    return NormParts{&norm.weight, &norm.bias, config_.layer_norm_epsilon};
  };
  Anatomy anatomy{.positions = positions_, .last = parts(ln_f_), .head = matrices_.size() - 1};
  for (const Block& block : blocks_) {
    const std::size_t i = block.first_matrix;
    anatomy.blocks.push_back(
        {.attention = AttentionParts{.norm = parts(block.ln_1),
                                     .q = i,
                                     .k = i + 1,
                                     .v = i + 2,
                                     .o = i + 3,
                                     .shape = {config_.n_head, config_.n_head, config_.head_width()}},
         .mlp = MlpParts{
             .norm = parts(block.ln_2), .in = i + 4, .out = i + 5, .activation = activation_of(config_)}});
  }
  return anatomy;
}

at::Tensor Gpt2::hidden(const at::Tensor& tokens, Executor& executor, const PassStart& start) const {
  const std::int64_t B = tokens.size(0), T = tokens.size(1), d = config_.n_embd;
  check_length(start.position + T);
  const auto normalised = [&](std::size_t b, NormPlace place, const Norm& norm, const at::Tensor& x) {
    return executor.norm({.block = b,
                          .place = place,
                          .weight = &norm.weight,
                          .bias = &norm.bias,
                          .eps = config_.layer_norm_epsilon,
                          .output = numerics().compute},
                         x);
  };
  at::Tensor x = start.residual;
  if (!x.defined()) {
    x = executor.embedding(matrices_.front(), tokens.reshape({B * T}));
    const at::Tensor positions = executor.positions(positions_.narrow(0, start.position, T));
    x = executor.residual(0, at::add(x.view({B, T, d}), positions).view({B * T, d}));
  }
  const Activation activation = activation_of(config_);
  for (std::size_t b = start.first_block(); b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    const auto apply = [&](std::size_t i, const at::Tensor& input) {
      return executor.linear(matrices_[block.first_matrix + i], input);
    };
    at::Tensor h = normalised(b, NormPlace::attention, block.ln_1, x);
    const at::Tensor q = apply(0, h), k = apply(1, h), v = apply(2, h);
    x = at::add(x, apply(3, executor.attention({b, q, k, v, B, config_.n_head, config_.n_head,
                                                /*causal=*/true})));
    h = apply(4, normalised(b, NormPlace::mlp, block.ln_2, x));
    x = executor.residual(b + 1, at::add(x, apply(5, executor.activation(activation, h))));
  }
  return normalised(blocks_.size(), NormPlace::last, ln_f_, x);
}

}  // namespace vpd
