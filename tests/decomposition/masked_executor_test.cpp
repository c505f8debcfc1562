// The masked site against the form of the method with the Δ matrix written out, y = ((x V) ⊙ m) U + δ x (W -
// (V U)ᵀ)ᵀ + bias, whose gradients LibTorch's autograd computes in double precision.

#include "vpd/decomposition/masked_executor.hpp"

#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/kernels/positions.hpp"

namespace vpd::testing {
namespace {

struct Shape {
  std::int64_t N, d_in, C, d_out;
};

/// A site with random weights, and sources of which every element is known.
struct MaskedProblem {
  explicit MaskedProblem(const Shape& s, bool with_bias, bool with_routing, bool with_delta) : shape(s) {
    x = uniform_values({s.N, s.d_in}, 1).requires_grad_(true);
    V = uniform_values({s.d_in, s.C}, 2).requires_grad_(true);
    U = uniform_values({s.C, s.d_out}, 3).requires_grad_(true);
    W = uniform_values({s.d_out, s.d_in}, 4);
    if (with_bias) bias = uniform_values({s.d_out}, 5);
    g = uniform_values({s.N, s.C}, 6, 0.0, 1.0).requires_grad_(true);
    sources = uniform_values({s.N, s.C + 1}, 7, 0.0, 1.0).requires_grad_(true);
    if (with_routing) routing = uniform_values({s.N}, 8).gt(0.0).to(at::kByte);
    delta = with_delta;
    dy = uniform_values({s.N, s.d_out}, 9);
  }

  at::Tensor plain() const {
    const at::Tensor r = sources.narrow(1, 0, shape.C), m = g + (1 - g) * r;
    at::Tensor y = at::matmul(at::matmul(x, V) * m, U);
    if (delta) y = y + sources.narrow(1, shape.C, 1) * at::matmul(x, (W - at::matmul(V, U).t()).t());
    if (routing.defined()) y = at::where(routing.to(at::kBool).unsqueeze(1), y, at::matmul(x, W.t()));
    return bias.defined() ? y + bias : y;
  }

  Shape shape;
  at::Tensor x, V, U, W, bias, g, sources, routing, dy;
  bool delta = true;
};

class MaskedSite : public ::testing::TestWithParam<std::tuple<bool, bool, bool>> {};

/// apply_masked under `routing`, which says what problem.routing says, and all its gradients.
void expect_plain(const MaskedProblem& problem, const GateRouting& routing) {
  const at::Tensor expected = problem.plain();
  torch::autograd::backward({expected}, {problem.dy});
  const Matrix matrix{
      .name = "site", .weight = {problem.W, {}}, .bias = {problem.bias, {}}, .master = problem.W};
  const std::int64_t N = problem.shape.N;
  SitePass pass{.V = {problem.V.detach(), at::zeros_like(problem.V)},
                .U = {problem.U.detach(), at::zeros_like(problem.U)},
                .importance = problem.g.detach(),
                .importance_gradient = at::zeros_like(problem.g),
                .routing = routing};
  const at::Tensor source_gradient = at::zeros_like(problem.sources);
  pass.sources = {ReadSources{.values = problem.sources.detach(),
                              .time_length = N,
                              .time_rows = N,
                              .destination = SourceGradient{source_gradient}},
                  problem.delta ? std::nullopt : std::optional(0.0)};
  const at::Tensor x = problem.x.detach().clone().requires_grad_(true);
  const at::Tensor y = apply_masked(x, matrix, pass);
  torch::autograd::backward({y}, {problem.dy});

  const Tolerance tolerance{1e-12, 1e-12};
  expect_close(y.detach(), expected.detach(), tolerance, "y");
  expect_close(x.grad(), problem.x.grad(), tolerance, "dx");
  expect_close(pass.V.gradient, problem.V.grad(), tolerance, "dV");
  expect_close(pass.U.gradient, problem.U.grad(), tolerance, "dU");
  expect_close(pass.importance_gradient, problem.g.grad(), tolerance, "dg");
  expect_close(source_gradient, problem.sources.grad(), tolerance, "dr and dδ");
}

const std::vector<Shape> shapes = {{1, 1, 1, 1}, {7, 5, 3, 11}, {13, 8, 17, 4}};

TEST_P(MaskedSite, EqualsTheFormWithTheDeltaMatrixAndSoDoItsGradients) {
  const auto [with_bias, with_routing, with_delta] = GetParam();
  for (const Shape& shape : shapes) {
    const MaskedProblem problem(shape, with_bias, with_routing, with_delta);
    expect_plain(problem, problem.routing);
  }
}

// Lists as long as they have to be, and one with rows of no position, as CUDA has them.
TEST_P(MaskedSite, MakesProductsOfListedPositionsAlone) {
  const auto [with_bias, masked_somewhere, with_delta] = GetParam();
  for (const Shape& shape : shapes) {
    for (const std::int64_t more : {0, 3}) {
      MaskedProblem problem(shape, with_bias, /*with_routing=*/true, with_delta);
      if (!masked_somewhere) problem.routing.zero_();
      const MaskedPositions listed = masked_positions(problem.routing.unsqueeze(0), shape.N).front();
      GateRouting routing;
      routing.positions = at::cat({listed.positions, at::full({more}, -1, at::kInt)});
      routing.places = listed.places;
      expect_plain(problem, routing);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, MaskedSite,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Bool()));

TEST(MaskedSite, NothingIsRecordedWhereNobodyWantsAGradient) {
  const MaskedProblem p({3, 4, 5, 6}, false, false, true);
  const Matrix matrix{.name = "site", .weight = {p.W, {}}, .bias = {}, .master = p.W};
  const SitePass pass{.V = {p.V.detach(), {}},
                      .U = {p.U.detach(), {}},
                      .importance = p.g.detach(),
                      .sources = {ConstantSources{.r = 0.5}}};
  EXPECT_FALSE(apply_masked(p.x.detach(), matrix, pass).requires_grad());
}

}  // namespace
}  // namespace vpd::testing
