#include "vpd/target/residual_mlp.hpp"

#include <ATen/ATen.h>

#include "initial_weights.hpp"
#include "named_weights.hpp"

namespace vpd {
namespace {

constexpr const char* residual_mlp_embedding = "W_E";
constexpr const char* residual_mlp_head = "W_U";  // W_E transposed

std::string block(std::int64_t i) { return fmt::format("layers.{}.", i); }

}  // namespace

std::vector<TensorSpec> residual_mlp_weights(const ResidualMlpConfig& c) {
  std::vector<TensorSpec> specs = {{residual_mlp_embedding, {c.n_features, c.d_embed}}};
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    specs.push_back({block(i) + "mlp_in.weight", {c.d_mlp, c.d_embed}});
    specs.push_back({block(i) + "mlp_out.weight", {c.d_embed, c.d_mlp}});
  }
  return specs;
}

Architecture residual_mlp_architecture(const ResidualMlpConfig& c) {
  Architecture architecture{
      .output_width = c.n_features, .features = c.n_features, .divergence = Divergence::mse};
  architecture.add_stage({{residual_mlp_embedding, c.n_features, c.d_embed, /*in_block=*/false}}, 0);
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    architecture.begin_block();
    architecture.add_stage({{block(i) + "mlp_in", c.d_embed, c.d_mlp}}, 0);
    architecture.add_stage({{block(i) + "mlp_out", c.d_mlp, c.d_embed}}, c.d_mlp);
  }
  architecture.begin_block();
  architecture.add_stage({{residual_mlp_head, c.d_embed, c.n_features, /*in_block=*/false}}, 0);
  architecture.parameters = count_elements(residual_mlp_weights(c));
  return architecture;
}

ResidualMlp::ResidualMlp(const ResidualMlpConfig& config, const NamedTensors& weights,
                         const Numerics& numerics, const NamedTensors& gradients)
    : Target(numerics), config_(config) {
  const NamedWeights source("ResidualMLP", weights, gradients, numerics);
  const at::Tensor W_E = source.master(residual_mlp_embedding), factor = W_E.to(numerics.compute);
  const auto add_fixed = [&](const char* name, const at::Tensor& weight, const at::Tensor& master) {
    matrices_.push_back({.name = name,
                         .index = matrices_.size(),
                         .in_block = false,
                         .weight = {.value = weight, .gradient = {}},
                         .bias = {},
                         .master = master});
  };
  add_fixed(residual_mlp_embedding, factor.t(), W_E.t());
  for (std::int64_t i = 0; i < config.n_layers; ++i) {
    for (const char* name : {"mlp_in", "mlp_out"})
      matrices_.push_back(source.site(block(i) + name, matrices_.size()));
  }
  add_fixed(residual_mlp_head, factor, W_E);
}

std::size_t ResidualMlp::block_of(const Matrix& matrix) const {
  return matrix.index == 0 ? 0 : (matrix.index - 1) / 2;
}

std::optional<Anatomy> ResidualMlp::anatomy() const {
  Anatomy anatomy{.head = matrices_.size() - 1};
  for (std::size_t b = 0; b < blocks(); ++b) {
    anatomy.blocks.push_back(
        {.mlp = MlpParts{.in = 1 + 2 * b, .out = 2 + 2 * b, .activation = Activation::relu}});
  }
  return anatomy;
}

at::Tensor ResidualMlp::hidden(const at::Tensor& features, Executor& executor, const PassStart& start) const {
  at::Tensor r = start.residual;
  if (!r.defined())
    r = executor.residual(0, executor.linear(matrices_.front(), features.to(numerics().compute)));
  for (std::size_t b = start.first_block(); b < blocks(); ++b) {
    const Matrix &in = matrices_[1 + 2 * b], &out = matrices_[2 + 2 * b];
    const at::Tensor active = executor.activation(Activation::relu, executor.linear(in, r));
    r = executor.residual(b + 1, at::add(r, executor.linear(out, active)));
  }
  return r;
}

NamedTensors initial_residual_mlp(const ResidualMlpConfig& c, std::uint64_t seed) {
  InitialWeights draw(seed);
  at::Tensor W_E = draw.normal({c.n_features, c.d_embed}, 1.0);
  W_E.div_(W_E.norm(2, {1}, /*keepdim=*/true));
  NamedTensors weights = {{residual_mlp_embedding, W_E}};
  for (std::int64_t i = 0; i < c.n_layers; ++i) {
    weights.emplace_back(block(i) + "mlp_in.weight", draw.uniform({c.d_mlp, c.d_embed}, c.d_embed));
    weights.emplace_back(block(i) + "mlp_out.weight", draw.uniform({c.d_embed, c.d_mlp}, c.d_mlp));
  }
  return weights;
}

ResidualMlpConfig describe_residual_mlp(const std::filesystem::path& directory,
                                        std::vector<std::string>& warnings) {
  const auto config = read_toy_config<ResidualMlpConfig>(find_model_config(directory), warnings);
  check_headers(SafetensorsFile(find_weights(directory)), residual_mlp_weights(config));
  return config;
}

std::pair<ResidualMlpConfig, NamedTensors> read_residual_mlp(const std::filesystem::path& directory,
                                                             std::vector<std::string>& warnings) {
  const auto config = read_toy_config<ResidualMlpConfig>(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  return {config, read_weights(file, residual_mlp_weights(config), ResidualMlpConfig::model_type, warnings)};
}

}  // namespace vpd
