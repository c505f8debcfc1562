#include "vpd/target/tms.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "initial_weights.hpp"
#include "named_weights.hpp"

namespace vpd {
namespace {

std::string hidden_layer(std::int64_t i) { return fmt::format("hidden_layers.{}", i); }

}  // namespace

std::vector<TensorSpec> tms_weights(const TmsConfig& c) {
  std::vector<TensorSpec> specs = {{"linear1.weight", {c.n_hidden, c.n_features}}};
  for (std::int64_t i = 0; i < c.n_hidden_layers; ++i)
    specs.push_back({hidden_layer(i) + ".weight", {c.n_hidden, c.n_hidden}});
  specs.push_back({"linear2.weight", {c.n_features, c.n_hidden}});
  specs.push_back({"linear2.bias", {c.n_features}});
  return specs;
}

Architecture tms_architecture(const TmsConfig& c) {
  Architecture architecture{.output_width = c.n_features,
                            .features = c.n_features,
                            .has_head = false,
                            .divergence = Divergence::mse};
  architecture.add_stage({{"linear1", c.n_features, c.n_hidden}}, 0);
  for (std::int64_t i = 0; i < c.n_hidden_layers; ++i)
    architecture.add_stage({{hidden_layer(i), c.n_hidden, c.n_hidden}}, 0);
  architecture.add_stage({{"linear2", c.n_hidden, c.n_features}}, 0);
  architecture.add_stage({}, c.n_features);
  architecture.parameters = count_elements(tms_weights(c));
  return architecture;
}

Tms::Tms(const TmsConfig& config, const NamedTensors& weights, const Numerics& numerics,
         const NamedTensors& gradients)
    : Target(numerics), config_(config) {
  const NamedWeights source("TMS", weights, gradients, numerics);
  std::vector<std::string> names = {"linear1"};
  for (std::int64_t i = 0; i < config.n_hidden_layers; ++i) names.push_back(hidden_layer(i));
  names.push_back("linear2");
  for (const std::string& name : names) matrices_.push_back(source.site(name, matrices_.size()));
}

at::Tensor Tms::hidden(const at::Tensor& features, Executor& executor, const PassStart& /*start*/) const {
  at::Tensor x = features.to(numerics().compute);
  for (const Matrix& matrix : matrices_) x = executor.linear(matrix, x);
  return executor.activation(Activation::relu, x);
}

NamedTensors initial_tms(const TmsConfig& c, std::uint64_t seed) {
  InitialWeights draw(seed);
  const at::Tensor W = draw.uniform({c.n_hidden, c.n_features}, c.n_features);
  NamedTensors weights = {{"linear1.weight", W}};
  for (std::int64_t i = 0; i < c.n_hidden_layers; ++i) {
    const at::Tensor H = c.hidden == HiddenMatrices::identity ? at::eye(c.n_hidden, at::kFloat)
                                                              : draw.normal({c.n_hidden, c.n_hidden}, 1.0);
    weights.emplace_back(hidden_layer(i) + ".weight", H);
  }
  weights.emplace_back("linear2.weight", W.t().contiguous());
  weights.emplace_back("linear2.bias", at::zeros({c.n_features}, at::kFloat));
  return weights;
}

TmsConfig describe_tms(const std::filesystem::path& directory, std::vector<std::string>& warnings) {
  const auto config = read_toy_config<TmsConfig>(find_model_config(directory), warnings);
  check_headers(SafetensorsFile(find_weights(directory)), tms_weights(config));
  return config;
}

std::pair<TmsConfig, NamedTensors> read_tms(const std::filesystem::path& directory,
                                            std::vector<std::string>& warnings) {
  const auto config = read_toy_config<TmsConfig>(find_model_config(directory), warnings);
  const SafetensorsFile file(find_weights(directory));
  return {config, read_weights(file, tms_weights(config), TmsConfig::model_type, warnings)};
}

}  // namespace vpd
