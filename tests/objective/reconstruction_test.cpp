// Reconstruction losses against the method's formulas written out, with the Δ matrix, in double precision.

#include "vpd/objective/reconstruction.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"
#include "support/written_out.hpp"
#include "vpd/adversary/sources.hpp"
#include "vpd/base/error.hpp"
#include "vpd/objective/divergence.hpp"

namespace vpd::testing {
namespace {

/// A float64 decomposition with a head or without one among its sites, one batch, and buffers for gradients.
class Reconstruction : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::vector<std::string> overrides = {"initialize_from=null"};
    if (GetParam())
      overrides.push_back("sites=[{pattern: \"h.*.attn.?_proj\", C: 9}, {pattern: lm_head, C: 7}]");
    config_ = load_run_config(std::filesystem::path(VPD_TEST_DATA) / "plain" / "config.yaml", overrides);
    std::vector<std::string> warnings;
    d_ = make_decomposition(config_, {at::kCPU, at::kDouble, at::kDouble}, "plain", warnings);
    tokens_ = at::arange(2 * 5, at::kLong).mul_(7).remainder_(61).view({2, 5});
    clean_ = clean_pass(d_, tokens_, /*keep_outputs=*/true);
    N_ = clean_.N();
    // Not on the graph of a causal-importance function: any values in [0, 1] will do.
    importance_ = uniform_values({N_, d_.sites.total_C()}, 3, -0.3, 1.3).clamp_(0.0, 1.0);
    importance_gradient_ = at::zeros_like(importance_);
    components_gradient_ = d_.components.make_gradient();
    components_ = d_.components.bind(components_gradient_);
    context_ = {.decomposition = &d_,
                .clean = &clean_,
                .importance = importance_,
                .importance_gradient = importance_gradient_,
                .components = &components_};
  }

  RoutingDraw drawn_routing() const {
    const auto L = static_cast<std::int64_t>(d_.sites.size());
    return {.masks = uniform_values({L, N_}, 5).gt(-0.2).to(at::kByte)};
  }

  /// Value and gradients of a pass with `sources` against `expected`, a mean over positions on the graph of
  /// the reference's leaves.
  void expect_as_written(const WrittenOut& reference, const at::Tensor& expected, const SourceOf& sources,
                         const RoutingDraw& routing, Comparison comparison) {
    const double N = static_cast<double>(N_);
    const at::Tensor value = reconstruct(context_, sources, routing, 1.0 / N, comparison);
    expect_close(value / N, expected.detach(), {0.0, 1e-12}, "loss");
    expected.backward();
    const Tolerance tolerance{1e-10, 1e-12};
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      expect_close(components_[2 * i].gradient, gradient_of(reference.V[i]), tolerance, "dV");
      expect_close(components_[2 * i + 1].gradient, gradient_of(reference.U[i]), tolerance, "dU");
    }
    expect_close(importance_gradient_, gradient_of(reference.importance), tolerance, "dg");
  }

  static at::Tensor gradient_of(const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  }

  RunConfig config_;
  Decomposition d_;
  at::Tensor tokens_, importance_, importance_gradient_, components_gradient_;
  CleanPass clean_;
  std::int64_t N_ = 0;
  std::vector<Parameter> components_;
  PassContext context_;
};

TEST_P(Reconstruction, ConstantMasksTakeRouting) {
  for (const double r : {0.0, 1.0}) {
    SetUp();
    const WrittenOut reference(d_, clean_, importance_);
    const RoutingDraw routing = drawn_routing();
    const at::Tensor zero = at::zeros({N_, 1}, at::kDouble);
    const auto mask_of = [&](std::size_t i) {
      return WrittenOutMask{reference.mask(i, at::full({}, r, at::kDouble)), zero};
    };
    expect_as_written(reference, reference.kl(reference.run(mask_of, routing.masks)),
                      constant_sources(r, 0.0), routing, Comparison::output);
  }
}

TEST_P(Reconstruction, SquaredErrorUnderMasksThatNobodyLearns) {
  importance_ = importance_.gt(0.5).to(at::kDouble);
  context_.importance = importance_;
  context_.importance_gradient = at::Tensor();
  const WrittenOut reference(d_, clean_, importance_);
  const at::Tensor zero = at::zeros({N_, 1}, at::kDouble);
  const auto mask_of = [&](std::size_t i) { return WrittenOutMask{reference.g(i).detach(), zero}; };
  expect_as_written(reference, reference.squared_error(reference.run(mask_of)), constant_sources(0.0, 0.0),
                    {}, Comparison::squared_error);
}

TEST_P(Reconstruction, LayerwiseIsTheMeanOverSitesMaskedAlone) {
  for (const Comparison comparison : {Comparison::output, Comparison::hidden_acts}) {
    SetUp();
    const WrittenOut reference(d_, clean_, importance_);
    const at::Tensor zero = at::zeros({N_, 1}, at::kDouble);
    const auto mask_of = [&](std::size_t i) { return WrittenOutMask{reference.g(i), zero}; };
    at::Tensor expected = at::zeros({}, at::kDouble);
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      const WrittenOut::Pass pass = reference.run(mask_of, {}, static_cast<int>(i));
      expected = expected + (comparison == Comparison::output ? reference.kl(pass)
                                                              : reference.squared_error_of_sites(pass));
    }
    expect_as_written(reference, expected / static_cast<double>(d_.sites.size()), constant_sources(0.0, 0.0),
                      {.layerwise = true}, comparison);
  }
}

TEST_P(Reconstruction, HiddenActsCompareWhatEverySiteGave) {
  const WrittenOut reference(d_, clean_, importance_);
  const SourceLayout layout = make_layout(d_.sites, clean_.B(), clean_.T());
  const at::Tensor values = uniform_values({layout.rows(), layout.columns}, 8, 0.0, 1.0).requires_grad_(true);
  const at::Tensor gradient = at::zeros_like(values);
  const RoutingDraw routing = drawn_routing();
  const auto mask_of = [&](std::size_t i) {
    const at::Tensor columns = site_columns(values, d_.sites, i);
    const std::int64_t C = d_.sites[i].C;
    return WrittenOutMask{reference.mask(i, columns.narrow(1, 0, C)), columns.narrow(1, C, 1)};
  };
  expect_as_written(
      reference, reference.squared_error_of_sites(reference.run(mask_of, routing.masks)),
      tensor_sources(d_.sites,
                     {.layout = layout, .values = values.detach(), .gradient = gradient, .T = clean_.T()}),
      routing, Comparison::hidden_acts);
  expect_close(gradient, gradient_of(values), {1e-10, 1e-12}, "dr and dδ");
}

INSTANTIATE_TEST_SUITE_P(Heads, Reconstruction, ::testing::Bool(), [](const auto& one) {
  return one.param ? std::string("head_decomposed") : std::string("head_frozen");
});

TEST(SquaredErrorOfSites, NeedsACleanPassThatKeptThem) {
  const std::vector<at::Tensor> masked = {at::zeros({2, 3}), at::zeros({2, 3})};
  try {
    squared_error_of_sites({}, masked, at::kFloat, 0.0);
    FAIL() << "expected a UsageError";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("outputs of 2 sites from the clean pass, found 0"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace vpd::testing
