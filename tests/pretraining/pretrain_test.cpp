// Training of a target: its gradients against LibTorch's autograd on a LlamaSimpleMLP written down plainly in
// double precision, and what a step does with them.

#include "vpd/pretraining/pretrain.hpp"

#include <cmath>
#include <limits>
#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/base/error.hpp"
#include "vpd/target/llama_simple_mlp.hpp"

namespace vpd::testing {
namespace {

const Numerics in_double{.device = at::kCPU, .compute = at::kDouble, .wide = at::kDouble};

struct Shape {
  const char* name;
  bool untied_head, grouped, biases, adjacent_pairs;
};

PretrainConfig config_of(const Shape& shape) {
  PretrainConfig config;
  config.model = LlamaSimpleMlpConfig{.vocab_size = 29,
                                      .n_layer = 2,
                                      .n_head = 4,
                                      .n_embd = 24,
                                      .n_intermediate = 40,
                                      .n_key_value_heads = shape.grouped ? 2 : 4,
                                      .block_size = 16,
                                      .n_ctx = {},
                                      .rotary_base = 50.0,
                                      .rotary_adjacent_pairs = shape.adjacent_pairs,
                                      .attn_bias = shape.biases,
                                      .mlp_bias = shape.biases};
  config.training.steps = 100;
  config.training.batch_size = 5;
  config.training.learning_rate = {.start = 1e-2};
  return config;
}

const LlamaSimpleMlpConfig& model_of(const PretrainConfig& config) {
  return std::get<LlamaSimpleMlpConfig>(config.model);
}

constexpr Shape plain{"plain", false, false, false, false};

// Far enough from zero that every part of the model matters to the loss.
NamedTensors random_weights(const LlamaSimpleMlpConfig& model, bool untied_head) {
  NamedTensors weights;
  for (const TensorSpec& spec : llama_simple_mlp_weights(model, untied_head)) {
    const at::Tensor draw = uniform_values(spec.shape, 100 + weights.size(), -0.4, 0.4);
    weights.emplace_back(spec.name, spec.name.find("rms") != std::string::npos ? draw + 1.0 : draw);
  }
  return weights;
}

at::Tensor random_tokens(const PretrainConfig& config, std::int64_t T = 13) {
  return uniform_values({config.training.batch_size, T}, 9, 0.0,
                        static_cast<double>(model_of(config).vocab_size))
      .floor()
      .to(at::kLong);
}

// The model of the method's section 8, without any of the library's operations. x [B, T, d].
class PlainModel {
 public:
  PlainModel(const LlamaSimpleMlpConfig& model, const NamedTensors& weights) : model_(model) {
    for (const auto& [name, weight] : weights) weights_[name] = weight.clone().requires_grad_();
  }

  const at::Tensor& weight(const std::string& name) const { return weights_.at(name); }

  at::Tensor cross_entropy(const at::Tensor& tokens) const {
    at::Tensor x = at::index_select(weight("wte.weight"), 0, tokens.flatten())
                       .view({tokens.size(0), tokens.size(1), model_.n_embd});
    for (std::int64_t i = 0; i < model_.n_layer; ++i) {
      const std::string h = "h." + std::to_string(i) + ".";
      x = x + attention(h + "attn.", normed(x, h + "rms_1.weight"));
      const at::Tensor wide = linear(h + "mlp.c_fc", normed(x, h + "rms_2.weight"));
      const at::Tensor active =
          0.5 * wide * (1.0 + at::tanh(std::sqrt(2.0 / M_PI) * (wide + 0.044715 * wide.pow(3))));
      x = x + linear(h + "mlp.down_proj", active);
    }
    const bool untied = weights_.contains("lm_head.weight");
    const at::Tensor head = weight(untied ? "lm_head.weight" : "wte.weight");
    const at::Tensor log_p = at::log_softmax(at::matmul(normed(x, "ln_f.weight"), head.t()), -1);
    const std::int64_t predictions = tokens.size(1) - 1;
    const at::Tensor next = tokens.narrow(1, 1, predictions).unsqueeze(-1);
    return -log_p.narrow(1, 0, predictions).gather(-1, next).mean();
  }

 private:
  at::Tensor linear(const std::string& name, const at::Tensor& x) const {
    const at::Tensor y = at::matmul(x, weight(name + ".weight").t());
    const auto bias = weights_.find(name + ".bias");
    return bias == weights_.end() ? y : y + bias->second;
  }

  at::Tensor normed(const at::Tensor& x, const std::string& name) const {
    return x * at::rsqrt(x.pow(2).mean(-1, true) + model_.rms_norm_eps) * weight(name);
  }

  // x [T, d_head] with its pairs turned by t / base^(2 i / d_head).
  at::Tensor turned(const at::Tensor& x) const {
    const std::int64_t T = x.size(-2), half = model_.head_dim() / 2;
    const at::Tensor i = at::arange(half, at::kDouble);
    const at::Tensor frequency = at::pow(model_.rotary_base, -i / static_cast<double>(half));
    const at::Tensor angle = at::outer(at::arange(T, at::kDouble), frequency);
    const at::Tensor pairs = model_.rotary_adjacent_pairs ? x.unflatten(-1, {half, 2})
                                                          : x.unflatten(-1, {2, half}).transpose(-1, -2);
    const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
    const at::Tensor first = a * angle.cos() - b * angle.sin(), second = b * angle.cos() + a * angle.sin();
    return model_.rotary_adjacent_pairs ? at::stack({first, second}, -1).flatten(-2)
                                        : at::cat({first, second}, -1);
  }

  at::Tensor attention(const std::string& name, const at::Tensor& x) const {
    const at::Tensor q = linear(name + "q_proj", x), k = linear(name + "k_proj", x),
                     v = linear(name + "v_proj", x);
    const std::int64_t T = x.size(1), d = model_.head_dim(), share = model_.n_head / model_.n_key_value_heads;
    const at::Tensor future = at::ones({T, T}, at::kBool).triu(1);
    std::vector<at::Tensor> heads;
    for (std::int64_t head = 0; head < model_.n_head; ++head) {
      const auto part = [&](const at::Tensor& all, std::int64_t which) {
        return all.narrow(-1, which * d, d);
      };
      const at::Tensor scores =
          at::matmul(turned(part(q, head)), turned(part(k, head / share)).transpose(-1, -2)) / std::sqrt(d);
      const at::Tensor pattern =
          at::softmax(scores.masked_fill(future, -std::numeric_limits<double>::infinity()), -1);
      heads.push_back(at::matmul(pattern, part(v, head / share)));
    }
    return linear(name + "o_proj", at::cat(heads, -1));
  }

  LlamaSimpleMlpConfig model_;
  std::map<std::string, at::Tensor> weights_;
};

class PretrainGradient : public ::testing::TestWithParam<Shape> {};

TEST_P(PretrainGradient, OfEveryParameterIsThatOfThePlainModel) {
  const PretrainConfig config = config_of(GetParam());
  const NamedTensors weights = random_weights(model_of(config), GetParam().untied_head);
  const at::Tensor tokens = random_tokens(config);
  const PlainModel reference(model_of(config), weights);
  const at::Tensor expected = reference.cross_entropy(tokens);
  torch::autograd::backward({expected}, {});

  for (const int lane_count : {1, 2, 3}) {
    Lanes lanes(lane_count);
    Pretraining training(config, weights, in_double, lanes);
    const PretrainStepResult result = training.backward(tokens);
    EXPECT_NEAR(result.loss.item<double>(), expected.item<double>(), 1e-12);
    EXPECT_NEAR(training.loss(tokens), expected.item<double>(), 1e-12);
    double square = 0.0;
    for (const auto& [name, gradient] : training.gradients()) {
      const at::Tensor& wanted = reference.weight(name).grad();
      const double largest = wanted.abs().max().item<double>();
      EXPECT_GT(largest, 1e-6) << name << " does not matter to the loss";
      expect_close(gradient, wanted, {.absolute = 1e-10 * largest}, name);
      square += wanted.square().sum().item<double>();
    }
    EXPECT_NEAR(result.gradient_norm.item<double>(), std::sqrt(square), 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PretrainGradient,
                         ::testing::Values(plain, Shape{"untied", true, false, false, false},
                                           Shape{"grouped", false, true, false, true},
                                           Shape{"biases", true, true, true, false}),
                         [](const auto& shape) { return shape.param.name; });

TEST(Pretraining, LanesDoNotChangeTheLossInSinglePrecision) {
  const PretrainConfig config = config_of(plain);
  const NamedTensors weights = random_weights(model_of(config), false);
  const at::Tensor tokens = random_tokens(config);
  Lanes one(1), two(2);
  Pretraining alone(config, weights, {}, one), together(config, weights, {}, two);
  for (std::int64_t step = 0; step < 5; ++step) {
    const double a = alone.run(tokens, step).loss.item<double>();
    EXPECT_NEAR(together.run(tokens, step).loss.item<double>(), a, 1e-6 * a) << "step " << step;
  }
}

// In bfloat16 the products see copies of the weights, which have to follow the masters.
TEST(Pretraining, LossFallsInEveryPrecision) {
  const PretrainConfig config = config_of(plain);
  const at::Tensor tokens = random_tokens(config);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Lanes lanes(2);
    Pretraining training(config, initial_llama_simple_mlp(model_of(config), 0),
                         {.device = at::kCPU, .compute = type, .wide = at::kFloat}, lanes);
    const double before = training.loss(tokens);
    EXPECT_NEAR(before, std::log(29.0), 0.2) << "random weights predict every token alike";
    for (std::int64_t step = 0; step < 60; ++step) training.run(tokens, step);
    EXPECT_LT(training.loss(tokens), 0.25 * before) << at::toString(type);
  }
}

TEST(Pretraining, WeightDecayTouchesMatricesAlone) {
  PretrainConfig config = config_of(Shape{"biases", true, false, true, false});
  const NamedTensors weights = random_weights(model_of(config), true);
  Lanes lanes(1);
  const auto after_a_step = [&](double decay) {
    config.training.optimizer = PretrainAdamWConfig{.weight_decay = decay};
    Pretraining training(config, weights, in_double, lanes);
    training.run(random_tokens(config), 0);
    NamedTensors result;
    for (const auto& [name, weight] : training.weights()) result.emplace_back(name, weight.clone());
    return result;
  };
  const NamedTensors without = after_a_step(0.0), with = after_a_step(0.5);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor& start = weights[i].second;
    const at::Tensor lost = start.dim() == 2 ? 1e-2 * 0.5 * start : at::zeros_like(start);
    expect_close(with[i].second, without[i].second - lost, {.absolute = 1e-12}, weights[i].first);
  }
}

// Where eps dwarfs the gradient, Adam's first update is proportional to it, so that clipping shows.
TEST(Pretraining, ClipsOneNormOverAllParameters) {
  PretrainConfig config = config_of(plain);
  config.training.optimizer = PretrainAdamWConfig{.eps = 1e6, .weight_decay = 0.0};
  const NamedTensors weights = random_weights(model_of(config), false);
  Lanes lanes(2);
  const auto first_update = [&](std::optional<double> clip, double& norm) {
    config.training.gradient_clip = clip;
    Pretraining training(config, weights, in_double, lanes);
    norm = training.run(random_tokens(config), 0).gradient_norm.item<double>();
    NamedTensors updates;
    const NamedTensors now = training.weights();
    for (std::size_t i = 0; i < now.size(); ++i) {
      updates.emplace_back(now[i].first, now[i].second - weights[i].second);
    }
    return updates;
  };
  double norm = 0.0, ignored = 0.0;
  const NamedTensors free = first_update(std::nullopt, norm), loose = first_update(2.0 * norm, ignored),
                     tight = first_update(0.25 * norm, ignored);
  for (std::size_t i = 0; i < free.size(); ++i) {
    const double largest = free[i].second.abs().max().item<double>();
    expect_close(loose[i].second, free[i].second, {.absolute = 1e-5 * largest}, free[i].first);
    expect_close(tight[i].second, 0.25 * free[i].second, {.absolute = 1e-5 * largest}, free[i].first);
  }
}

TEST(Pretraining, LossThatIsNotFiniteStopsBeforeTheUpdate) {
  const PretrainConfig config = config_of(plain);
  NamedTensors weights = random_weights(model_of(config), false);
  weights.front().second[0][0] = std::numeric_limits<double>::quiet_NaN();
  Lanes lanes(2);
  Pretraining training(config, weights, {}, lanes);
  const at::Tensor before = training.weights().back().second.clone();
  try {
    training.run(at::zeros({5, 13}, at::kLong), 17);
    FAIL() << "expected a NumericalError";
  } catch (const NumericalError& error) {
    EXPECT_NE(std::string(error.what()).find("step 17: the cross-entropy is NaN"), std::string::npos)
        << error.what();
  }
  expect_identical(training.weights().back().second, before, "weights");
}

}  // namespace
}  // namespace vpd::testing
