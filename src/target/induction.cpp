#include "vpd/target/induction.hpp"

#include <array>
#include <cmath>

#include <ATen/ATen.h>

#include "initial_weights.hpp"
#include "named_weights.hpp"

namespace vpd {
namespace {

constexpr const char* induction_embedding = "token_embed";
constexpr const char* induction_head = "unembed";
constexpr std::array<const char*, 4> induction_matrices = {"q_proj", "k_proj", "v_proj", "out_proj"};

std::string attention_name(std::int64_t i) { return fmt::format("blocks.{}.attn.", i); }

/// Entry 2 j of position t is sin(t 10000^(-2 j / d)), entry 2 j + 1 the cosine of the same ("Attention Is
/// All You Need", section 3.5): float64 [T, d].
at::Tensor position_table(std::int64_t T, std::int64_t d) {
  const at::Tensor j = at::arange((d + 1) / 2, at::kDouble);
  const at::Tensor angle =
      at::outer(at::arange(T, at::kDouble), at::pow(10000.0, j * (-2.0 / static_cast<double>(d))));
  return at::stack({angle.sin(), angle.cos()}, 2).flatten(1).narrow(1, 0, d);
}

}  // namespace

std::vector<TensorSpec> induction_weights(const InductionConfig& c) {
  std::vector<TensorSpec> specs = {{"token_embed.weight", {c.vocab_size, c.d_model}}};
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    for (const char* name : induction_matrices)
      specs.push_back({attention_name(i) + name + ".weight", {c.d_model, c.d_model}});
  }
  specs.push_back({"unembed.weight", {c.vocab_size, c.d_model}});
  return specs;
}

Architecture induction_architecture(const InductionConfig& c) {
  const std::int64_t d = c.d_model;
  const AttentionShape attention{c.n_heads, c.n_heads, d / c.n_heads};
  Architecture architecture{.output_width = c.vocab_size, .longest_sequence = c.block_size};
  architecture.add_stage({{induction_embedding, c.vocab_size, d, /*in_block=*/false, /*embedding=*/true}}, 0);
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    architecture.begin_block();
    const auto name = [&](std::size_t which) { return attention_name(i) + induction_matrices[which]; };
    architecture.add_stage({{name(0), d, d}, {name(1), d, d}, {name(2), d, d}}, 0);
    architecture.add_stage({{name(3), d, d}}, 0, attention);
  }
  architecture.begin_block();
  architecture.add_stage({{induction_head, d, c.vocab_size, /*in_block=*/false}}, 0);
  architecture.parameters = count_elements(induction_weights(c));
  return architecture;
}

InductionTransformer::InductionTransformer(const InductionConfig& config, const NamedTensors& weights,
                                           const Numerics& numerics, const NamedTensors& gradients)
    : Target(numerics), config_(config) {
  const NamedWeights source("InductionTransformer", weights, gradients, numerics);
  matrices_.push_back(embedding_matrix(induction_embedding, source.vector("token_embed.weight")));
  for (std::int64_t i = 0; i < config.n_layers; ++i) {
    for (const char* name : induction_matrices)
      matrices_.push_back(source.site(attention_name(i) + name, matrices_.size()));
  }
  matrices_.push_back(source.site(induction_head, matrices_.size()));
  matrices_.back().in_block = false;
  positions_ = position_table(config.block_size, config.d_model).to(numerics.device, numerics.compute);
}

std::size_t InductionTransformer::block_of(const Matrix& matrix) const {
  return matrix.index == 0 ? 0 : (matrix.index - 1) / induction_matrices.size();
}

std::optional<Anatomy> InductionTransformer::anatomy() const {
  Anatomy anatomy{.head = matrices_.size() - 1};
  const AttentionShape shape{config_.n_heads, config_.n_heads, config_.d_model / config_.n_heads};
  for (std::size_t b = 0; b < blocks(); ++b) {
    const std::size_t i = 1 + b * induction_matrices.size();
    anatomy.blocks.push_back(
        {.attention = AttentionParts{
             .q = i, .k = i + 1, .v = i + 2, .o = i + 3, .shape = shape, .added_positions = positions_}});
  }
  return anatomy;
}

at::Tensor InductionTransformer::hidden(const at::Tensor& tokens, Executor& executor,
                                        const PassStart& start) const {
  const std::int64_t B = tokens.size(0), T = tokens.size(1), d = config_.d_model;
  check_length(start.position + T);
  const at::ScalarType type = numerics().compute;
  const at::Tensor positions = positions_.narrow(0, start.position, T);
  const auto placed = [&](const at::Tensor& x) {
    return at::add(x.view({B, T, d}), positions).view({B * T, d});
  };
  at::Tensor x = start.residual;
  if (!x.defined()) x = executor.residual(0, executor.embedding(matrices_.front(), tokens.reshape({B * T})));
  for (std::size_t b = start.first_block(); b < blocks(); ++b) {
    const std::size_t i = 1 + b * induction_matrices.size();
    const at::Tensor input = x.to(type);
    const at::Tensor q = placed(executor.linear(matrices_[i], input)),
                     k = placed(executor.linear(matrices_[i + 1], input)),
                     v = executor.linear(matrices_[i + 2], input);
    const at::Tensor mixed =
        executor.attention({b, q, k, v, B, config_.n_heads, config_.n_heads, /*causal=*/true});
    x = executor.residual(b + 1, at::add(x, executor.linear(matrices_[i + 3], mixed)));
  }
  return x.to(type);
}

at::Tensor induction_first_positions(const at::Tensor& tokens, const InductionConfig& config) {
  return tokens.eq(config.vocab_size - 1).to(at::kLong).argmax(1);
}

at::Tensor induction_answers(const at::Tensor& tokens, const InductionConfig& config) {
  return tokens.gather(1, induction_first_positions(tokens, config).add(1).unsqueeze(1)).squeeze(1);
}

NamedTensors initial_induction(const InductionConfig& c, std::uint64_t seed) {
  InitialWeights draw(seed);
  NamedTensors weights;
  for (const TensorSpec& spec : induction_weights(c)) {
    const bool embeds = spec.name == "token_embed.weight";
    weights.emplace_back(spec.name,
                         embeds ? draw.normal(spec.shape, 1.0) : draw.uniform(spec.shape, c.d_model));
  }
  return weights;
}

InductionConfig describe_induction(const std::filesystem::path& directory,
                                   std::vector<std::string>& warnings) {
  const auto config = read_toy_config<InductionConfig>(find_model_config(directory), warnings);
  check_headers(SafetensorsFile(find_weights(directory)), induction_weights(config));
  return config;
}

std::pair<InductionConfig, NamedTensors> read_induction(const std::filesystem::path& directory,
                                                        std::vector<std::string>& warnings) {
  const auto config = read_toy_config<InductionConfig>(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  return {config, read_weights(file, induction_weights(config), InductionConfig::model_type, warnings)};
}

}  // namespace vpd
