// Training of the toy models: losses and gradients against their statements in double precision, and that
// they learn what they are for.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "io/support.hpp"
#include "support/expect_close.hpp"
#include "vpd/io/synthetic.hpp"
#include "vpd/pretraining/pretrain.hpp"
#include "vpd/target/induction.hpp"
#include "vpd/target/residual_mlp.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

const Numerics in_double{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};

PretrainConfig config_of(const PretrainModelConfig& model, std::int64_t steps = 100) {
  PretrainConfig config;
  config.model = model;
  config.training = {.steps = steps,
                     .batch_size = 64,
                     .learning_rate = {.start = 5e-3},
                     .optimizer = PretrainAdamWConfig{.beta2 = 0.999, .weight_decay = 0.01},
                     .gradient_clip = {}};
  return config;
}

const at::Tensor& named(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [other, tensor] : tensors) {
    if (other == name) return tensor;
  }
  throw std::runtime_error("no tensor named " + name);
}

/// Leaves of LibTorch's own graph.
NamedTensors leaves(const NamedTensors& weights) {
  NamedTensors result;
  for (const auto& [name, weight] : weights)
    result.emplace_back(name, weight.to(at::kDouble).clone().requires_grad_());
  return result;
}

/// Every trained weight's gradient, on each number of lanes.
void expect_gradients(const PretrainConfig& config, const at::Tensor& input, const NamedTensors& reference,
                      const at::Tensor& expected, const std::vector<std::string>& fixed) {
  torch::autograd::backward({expected}, {});
  const auto task = make_pretrain_task(config.model);
  NamedTensors weights;
  for (const auto& [name, leaf] : reference) weights.emplace_back(name, leaf.detach());
  for (const int lane_count : {1, 3}) {
    Lanes lanes(lane_count);
    Pretraining training(config, weights, in_double, lanes);
    EXPECT_NEAR(training.backward(input).loss.item<double>(), expected.item<double>(), 1e-12);
    EXPECT_NEAR(training.loss(input), expected.item<double>(), 1e-12);
    const NamedTensors gradients = training.gradients();
    EXPECT_EQ(gradients.size() + fixed.size(), weights.size());
    for (const auto& [name, gradient] : gradients) {
      const at::Tensor& wanted = named(reference, name).grad();
      const double largest = wanted.abs().max().item<double>();
      EXPECT_GT(largest, 1e-9) << name << " does not matter to the loss";
      expect_close(gradient, wanted, {.absolute = 1e-10 * largest}, name);
    }
    training.run(input, 0);
    for (const auto& [name, weight] : training.weights()) {
      const bool stays = std::find(fixed.begin(), fixed.end(), name) != fixed.end();
      EXPECT_EQ(weight.equal(named(weights, name)), stays) << name;
    }
  }
}

TEST(PretrainTms, ReconstructsTheAbsoluteValueWithOneMatrixTwice) {
  const TmsConfig model{
      .n_features = 5, .n_hidden = 3, .n_hidden_layers = 1, .hidden = HiddenMatrices::random};
  const NamedTensors weights = leaves(make_pretrain_task(model)->initial(4));
  const at::Tensor x = SparseFeatures({.probability = 0.4, .range = {-1.0, 1.0}}, 5, 1, DataRole::train)
                           .batch(0, 50)
                           .to(at::kDouble);
  const at::Tensor& W = named(weights, "linear1.weight");
  const at::Tensor hidden = at::matmul(at::matmul(x, W.t()), named(weights, "hidden_layers.0.weight").t());
  const at::Tensor output = at::clamp_min(at::matmul(hidden, W) + named(weights, "linear2.bias"), 0.0);
  expect_gradients(config_of(model), x, weights, (x.abs() - output).square().mean(),
                   {"hidden_layers.0.weight"});
}

TEST(PretrainResidualMlp, LearnsActivationPlusInput) {
  const ResidualMlpConfig model{.n_features = 6, .d_embed = 20, .d_mlp = 5, .n_layers = 2};
  const NamedTensors weights = leaves(make_pretrain_task(model)->initial(4));
  const at::Tensor x = SparseFeatures({.probability = 0.4, .range = {-1.0, 1.0}}, 6, 1, DataRole::train)
                           .batch(0, 50)
                           .to(at::kDouble);
  at::Tensor r = at::matmul(x, named(weights, "W_E"));
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    const at::Tensor neurons = at::clamp_min(at::matmul(r, named(weights, layer + "mlp_in.weight").t()), 0.0);
    r = r + at::matmul(neurons, named(weights, layer + "mlp_out.weight").t());
  }
  const at::Tensor label = at::clamp_min(x, 0.0) + x;
  expect_gradients(config_of(model), x, weights,
                   (at::matmul(r, named(weights, "W_E").t()) - label).square().mean(), {"W_E"});
}

TEST(PretrainInduction, SaysMAtTheLastPosition) {
  const InductionConfig model{.vocab_size = 9, .block_size = 10, .d_model = 8, .n_heads = 2};
  const NamedTensors weights = leaves(make_pretrain_task(model)->initial(4));
  const at::Tensor tokens = InductionRows({.sequence_length = 10}, 9, 1, DataRole::train).batch(0, 30);
  // The target itself stands for the formula, which toys_test.cpp compares: here the loss is what is new. Its
  // weights are not on LibTorch's graph, so that gradients are compared by finite differences of the loss.
  const PretrainConfig config = config_of(model);
  NamedTensors values;
  for (const auto& [name, leaf] : weights) values.emplace_back(name, leaf.detach());
  const auto loss = [&](const NamedTensors& at_values) {
    const at::NoGradGuard no_grad;
    const InductionTransformer target(model, at_values, in_double);
    PlainExecutor executor;
    const at::Tensor logits = target.forward(tokens, executor).view({30, 10, 9}).select(1, 9);
    double sum = 0.0;
    for (std::int64_t row = 0; row < 30; ++row) {
      std::int64_t first = 1;
      while (tokens[row][first].item<std::int64_t>() != 8) ++first;
      const std::int64_t m = tokens[row][first + 1].item<std::int64_t>();
      sum -= at::log_softmax(logits[row], 0)[m].item<double>();
    }
    return sum / 30.0;
  };
  for (const int lane_count : {1, 2}) {
    Lanes lanes(lane_count);
    Pretraining training(config, values, in_double, lanes);
    EXPECT_NEAR(training.backward(tokens).loss.item<double>(), loss(values), 1e-12);
    const NamedTensors gradients = training.gradients();
    ASSERT_EQ(gradients.size(), values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      // one direction for each weight: the gradient's own
      const at::Tensor& gradient = gradients[i].second;
      const double norm = gradient.norm().item<double>(), step = 1e-5;
      NamedTensors above = values, below = values;
      above[i].second = values[i].second + gradient * (step / norm);
      below[i].second = values[i].second - gradient * (step / norm);
      EXPECT_NEAR((loss(above) - loss(below)) / (2 * step), norm, 1e-6 * norm) << values[i].first;
    }
  }
}

TEST(PretrainTms, WritesTheTiedMatrixTwice) {
  const TemporaryDirectory scratch;
  const TmsConfig model{.n_features = 5, .n_hidden = 2, .n_hidden_layers = 1};
  const auto task = make_pretrain_task(model);
  Lanes lanes(1);
  const PretrainConfig config = config_of(model);
  Pretraining training(config, task->initial(0), {}, lanes);
  const SparseFeatures data({.probability = 0.05}, 5, 0, DataRole::train);
  const double before = training.loss(data.batch(0, 4096));
  for (std::int64_t step = 0; step < 200; ++step) training.run(data.batch(step * 64, 64), step);
  EXPECT_LT(training.loss(data.batch(0, 4096)), 0.8 * before);
  task->write(scratch / "tms", training.weights());
  std::vector<std::string> warnings;
  const auto [read_model, weights] = read_tms(scratch / "tms", warnings);
  EXPECT_TRUE(warnings.empty()) << warnings.front();
  EXPECT_EQ(read_model, model);
  const at::Tensor& W = named(weights, "linear1.weight");
  expect_identical(W, named(training.weights(), "linear1.weight"), "linear1");
  expect_identical(named(weights, "linear2.weight"), W.t().contiguous(), "linear2");
  expect_identical(named(weights, "hidden_layers.0.weight"), at::eye(2, at::kFloat), "the identity stays");
}

TEST(PretrainToys, LanesDoNotChangeTheLossInSinglePrecision) {
  const ResidualMlpConfig model{.n_features = 6, .d_embed = 20, .d_mlp = 5, .n_layers = 2};
  const NamedTensors weights = make_pretrain_task(model)->initial(4);
  const SparseFeatures data({.probability = 0.4, .range = {-1.0, 1.0}}, 6, 1, DataRole::train);
  Lanes one(1), two(2);
  const PretrainConfig config = config_of(model);
  Pretraining alone(config, weights, {}, one), together(config, weights, {}, two);
  for (std::int64_t step = 0; step < 5; ++step) {
    const at::Tensor x = data.batch(step * 64, 64);
    const double a = alone.run(x, step).loss.item<double>();
    EXPECT_NEAR(together.run(x, step).loss.item<double>(), a, 1e-5 * a) << "step " << step;
  }
}

}  // namespace
}  // namespace vpd::testing
