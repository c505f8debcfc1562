// Each network against the formula written out, one network after another, in double precision.

#include "vpd/ops/parallel_mlp.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

struct Shape {
  std::int64_t N, C;
  std::vector<std::int64_t> widths;  // of the input and the hidden layers
};

/// W and b of each layer in turn, float64.
std::vector<at::Tensor> random_values(const Shape& shape) {
  std::vector<at::Tensor> values;
  for (std::size_t i = 0; i < shape.widths.size(); ++i) {
    const std::int64_t d_in = shape.widths[i], d_out = i + 1 < shape.widths.size() ? shape.widths[i + 1] : 1;
    values.push_back(
        uniform_values({shape.C, d_in, d_out}, 10 + i).div_(std::sqrt(static_cast<double>(d_in))));
    values.push_back(uniform_values({shape.C, d_out}, 20 + i));
  }
  return values;
}

/// x [N, C] or [N, d_in].
at::Tensor reference(const at::Tensor& x, const std::vector<at::Tensor>& values, ParallelInput input) {
  std::vector<at::Tensor> z;
  for (std::int64_t c = 0; c < values[0].size(0); ++c) {
    at::Tensor h = input == ParallelInput::column ? x.narrow(1, c, 1) : x;
    for (std::size_t i = 0; i < values.size(); i += 2) {
      h = at::matmul(h, values[i][c]) + values[i + 1][c];
      if (i + 2 < values.size()) h = 0.5 * h * (1 + at::erf(h / std::sqrt(2.0)));
    }
    z.push_back(h);
  }
  return at::cat(z, 1);
}

/// Networks of one input and one hidden layer have a kernel of their own on CPUs; the others' sizes matter
/// to both. Sizes with ones, primes, and more networks than are computed at once on a CPU, with a tail.
std::vector<std::pair<ParallelInput, Shape>> parallel_mlp_shapes() {
  using enum ParallelInput;
  return {{column, {1, 1, {1, 1}}},         {column, {7, 3, {1, 5}}},  {column, {13, 5, {1, 4, 3}}},
          {column, {129, 29, {1, 16}}},     {column, {64, 3, {1, 2}}}, {column, {33, 2, {1, 17}}},
          {column, {301, 30, {1, 19, 24}}}, {row, {1, 1, {1, 1}}},     {row, {7, 3, {4, 5}}},
          {row, {13, 5, {6, 4, 3}}},        {row, {1100, 67, {3, 16}}}};
}

class ParallelMlpTest : public DeviceTest {
 protected:
  std::vector<ParallelLayer> layers(const std::vector<at::Tensor>& values, bool trains) const {
    const auto parameter = [&](const at::Tensor& value) {
      return Parameter{real(value), trains ? broad(at::ones_like(value)) : at::Tensor()};
    };
    std::vector<ParallelLayer> all;
    for (std::size_t i = 0; i < values.size(); i += 2)
      all.push_back({parameter(values[i]), parameter(values[i + 1])});
    return all;
  }

  /// Of a sum of `terms` products of numbers up to `magnitude`. In bfloat16 each layer is rounded, and GELU's
  /// argument with it.
  Tolerance tolerance(double terms, double magnitude) const {
    if (dtype() == at::kBFloat16) return {0.0, 4 * epsilon(dtype()) * magnitude * std::sqrt(terms)};
    return rounding(dtype(), 16 + terms, magnitude);
  }
};

TEST_P(ParallelMlpTest, EqualsNetworksOneByOneAndSoDoItsGradients) {
  for (const auto& [input, shape] : parallel_mlp_shapes()) {
    const std::int64_t d_x = input == ParallelInput::column ? shape.C : shape.widths.front();
    SCOPED_TRACE(::testing::Message()
                 << shape.N << " positions, " << shape.C << " networks, " << shape.widths.size()
                 << " layers from " << shape.widths.front() << " inputs");
    std::vector<at::Tensor> values = random_values(shape);
    at::Tensor x = real(uniform_values({shape.N, d_x}, 1, -2.0, 2.0));
    const at::Tensor dz = real(uniform_values({shape.N, shape.C}, 2));

    const std::vector<ParallelLayer> all = layers(values, /*trains=*/true);
    std::vector<at::Tensor> leaves;
    for (const ParallelLayer& layer : all) {
      leaves.push_back(exact(layer.weight.value).clone().requires_grad_(true));
      leaves.push_back(exact(layer.bias.value).clone().requires_grad_(true));
    }
    const at::Tensor exact_x = exact(x).clone().requires_grad_(true);
    const at::Tensor expected = reference(exact_x, leaves, input);
    torch::autograd::backward({expected}, {exact(dz)});

    x.requires_grad_(input == ParallelInput::column);
    const at::Tensor z = parallel_mlp(x, all, input);
    const double widest = static_cast<double>(*std::max_element(shape.widths.begin(), shape.widths.end())),
                 layers_deep = static_cast<double>(shape.widths.size());
    expect_close(z.detach(), expected.detach().to(dtype()), tolerance(widest * layers_deep, 3.0), "z");
    torch::autograd::backward({z}, {dz});
    const double N = static_cast<double>(shape.N);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string layer = std::to_string(i);
      const double terms = N + widest * layers_deep;
      expect_close(all[i].weight.gradient, (leaves[2 * i].grad() + 1).to(wide()), tolerance(terms, 4.0),
                   "dW of layer " + layer);
      expect_close(all[i].bias.gradient, (leaves[2 * i + 1].grad() + 1).to(wide()), tolerance(terms, 4.0),
                   "db of layer " + layer);
    }
    if (input == ParallelInput::column)
      expect_close(x.grad(), exact_x.grad().to(dtype()), tolerance(widest * layers_deep, 4.0), "dx");
  }
}

TEST_P(ParallelMlpTest, FrozenNetworksPassTheGradientOn) {
  const Shape shape{5, 3, {1, 4}};
  const std::vector<at::Tensor> values = random_values(shape);
  at::Tensor x = real(uniform_values({5, 3}, 1));
  EXPECT_FALSE(parallel_mlp(x, layers(values, false), ParallelInput::column).requires_grad());
  x.requires_grad_(true);
  const std::vector<ParallelLayer> trained = layers(values, true), frozen = layers(values, false);
  torch::autograd::backward({parallel_mlp(x, trained, ParallelInput::column).sum()}, {});
  const at::Tensor expected = x.grad().clone();
  x.mutable_grad().zero_();
  torch::autograd::backward({parallel_mlp(x, frozen, ParallelInput::column).sum()}, {});
  expect_identical(x.grad(), expected, "dx");
}

INSTANTIATE_TEST_SUITE_P(Devices, ParallelMlpTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(ParallelMlp, GradientsAreThoseOfCentralDifferences) {
  for (const auto& [input, shape] : {std::pair{ParallelInput::column, Shape{6, 3, {1, 4}}},
                                     std::pair{ParallelInput::column, Shape{5, 2, {1, 3, 4}}},
                                     std::pair{ParallelInput::row, Shape{4, 3, {5, 2, 3}}}}) {
    const ParallelInput kind = input;
    const std::int64_t d_x = kind == ParallelInput::column ? shape.C : shape.widths.front();
    std::vector<at::Tensor> inputs = random_values(shape);
    inputs.push_back(uniform_values({shape.N, d_x}, 1));
    const auto run = [kind](const std::vector<at::Tensor>& in, std::vector<at::Tensor>* gradients) {
      std::vector<ParallelLayer> layers;
      for (std::size_t i = 0; i + 1 < in.size(); i += 2) {
        const auto parameter = [&](std::size_t k) {
          return Parameter{in[k], gradients ? at::zeros_like(in[k]) : at::Tensor()};
        };
        layers.push_back({parameter(i), parameter(i + 1)});
      }
      at::Tensor x = in.back().clone();
      x.requires_grad_(gradients && kind == ParallelInput::column);
      const at::Tensor z = parallel_mlp(x, layers, kind), sum = (z * z).sum();
      if (gradients) {
        torch::autograd::backward({sum}, {});
        for (const ParallelLayer& layer : layers) {
          gradients->push_back(layer.weight.gradient);
          gradients->push_back(layer.bias.gradient);
        }
        gradients->push_back(x.grad());
      }
      return sum.detach();
    };
    std::vector<at::Tensor> gradients;
    run(inputs, &gradients);
    check_gradient([&](const std::vector<at::Tensor>& in) { return run(in, nullptr); }, inputs, gradients,
                   "parallel_mlp");
  }
}

TEST(ParallelMlp, SaysWhatIsWrong) {
  const at::Tensor x = uniform_values({4, 3}, 1);
  const auto layer = [](std::int64_t C, std::int64_t d_in, std::int64_t d_out) {
    return ParallelLayer{{at::zeros({C, d_in, d_out}, at::kDouble), {}},
                         {at::zeros({C, d_out}, at::kDouble), {}}};
  };
  using enum ParallelInput;
  expect_usage_error([&] { parallel_mlp(x, {}, column); },
                     "expected a hidden layer and a last one, found none");
  expect_usage_error([&] { parallel_mlp(x, {layer(3, 1, 1)}, column); },
                     "hidden layer and a last one, found 1");
  expect_usage_error(
      [&] {
        parallel_mlp(x, {layer(3, 2, 4), layer(3, 4, 1)}, column);
      },
      "expected [3, 1, d_out] weights and [3, d_out] biases in layer 0, found [3, 2, 4] and [3, 4]");
  expect_usage_error(
      [&] {
        parallel_mlp(x, {layer(3, 1, 4), layer(3, 5, 1)}, column);
      },
      "expected [3, 4, d_out] weights and [3, d_out] biases in layer 1");
  expect_usage_error(
      [&] {
        parallel_mlp(x, {layer(3, 1, 4), layer(3, 4, 2)}, column);
      },
      "expected one output, found 2");
  expect_usage_error(
      [&] {
        parallel_mlp(x, {layer(2, 1, 4), layer(2, 4, 1)}, column);
      },
      "a column for each of 2 networks, found 3");
  ParallelLayer mixed = layer(3, 1, 4);
  mixed.bias.value = mixed.bias.value.to(at::kFloat);
  expect_usage_error(
      [&] {
        parallel_mlp(x, {mixed, layer(3, 4, 1)}, column);
      },
      "contiguous parameters of one dtype in layer 0");
  mixed = layer(3, 4, 1);
  mixed.weight.gradient = at::zeros({3, 4, 2}, at::kDouble).narrow(2, 0, 1);
  expect_usage_error([&] { parallel_mlp(x, {layer(3, 1, 4), mixed}, column); }, "dtype in layer 1");
  expect_usage_error([&] { parallel_mlp(x[0], {layer(3, 1, 4), layer(3, 4, 1)}, column); }, "a matrix x");
  expect_usage_error(
      [&] {
        parallel_mlp(x.clone().requires_grad_(true), {layer(2, 3, 4), layer(2, 4, 1)}, row);
      },
      "gets no gradient");
}

TEST(ParallelMlp, TheWorkspaceStaysWithinBounds) {
  const auto workspace = [](std::int64_t N, std::int64_t C, const std::vector<std::int64_t>& hidden) {
    return parallel_mlp_workspace(at::kCPU, N, C, 1, hidden, ParallelInput::column);
  };
  EXPECT_EQ(workspace(10, 3, {16, 8}), 3 * 10 * (2 * (16 + 8) + 2 * 16 + 3));
  EXPECT_EQ(workspace(1024, 100, {16, 8}), workspace(1024, 10000, {16, 8}));
  EXPECT_LE(workspace(1024, 10000, {16, 8}), 83 * (std::int64_t{1} << 17) / 16);
  EXPECT_EQ(workspace(1024, 100, {16}), 0);  // computed in registers
}

}  // namespace
}  // namespace vpd
