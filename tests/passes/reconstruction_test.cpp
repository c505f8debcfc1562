// Reconstruction losses, in both precisions, against the method's formulas written out, with the Δ matrix, in
// double precision.

#include "vpd/passes/reconstruction.hpp"

#include <functional>
#include <tuple>
#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "passes/written_out.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/passes/divergence.hpp"
#include "vpd/passes/sources.hpp"

namespace vpd::testing {
namespace {

/// A decomposition with a head or without one among its sites, the same in float64, one batch, and buffers
/// for gradients.
class Reconstruction : public ::testing::TestWithParam<std::tuple<bool, at::ScalarType>> {
 protected:
  void SetUp() override {
    std::vector<std::string> overrides = {"initialize_from=null"};
    if (std::get<0>(GetParam()))
      overrides.push_back("sites=[{pattern: \"h.*.attn.?_proj\", C: 9}, {pattern: lm_head, C: 7}]");
    config_ = load_run_config(test_data() / "plain" / "config.yaml", overrides);
    std::vector<std::string> warnings;
    const at::ScalarType type = std::get<1>(GetParam());
    d_ = make_decomposition(config_, {at::kCPU, type, type}, "plain", warnings);
    exact_ = make_decomposition(config_, {at::kCPU, at::kDouble, at::kDouble}, "plain", warnings);
    for (std::size_t k = 0; k < 2 * d_.sites.size(); ++k)
      at::Tensor(exact_.components.value(k)).copy_(d_.components.value(k));
    tokens_ = at::arange(2 * 5, at::kLong).mul_(7).remainder_(61).view({2, 5});
    clean_ = clean_pass(d_, tokens_, /*keep_outputs=*/true);
    exact_clean_ = clean_pass(exact_, tokens_, /*keep_outputs=*/true);
    N_ = clean_.N();
    // Not on the graph of a causal-importance function: any values in [0, 1] will do.
    importance_ = uniform_values({N_, d_.sites.total_C()}, 3, -0.3, 1.3).clamp_(0.0, 1.0).to(type);
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
    expect_near(value / N, expected.detach(), "loss");
    expected.backward();
    for (std::size_t i = 0; i < d_.sites.size(); ++i) {
      expect_near(components_.V(i).gradient, gradient_of(reference.V[i]), "dV");
      expect_near(components_.U(i).gradient, gradient_of(reference.U[i]), "dU");
    }
    expect_near(importance_gradient_, gradient_of(reference.importance), "dg");
  }

  WrittenOut written_out() const { return {exact_, exact_clean_, importance_.to(at::kDouble)}; }

  /// To a thousand roundings of the largest entry: as many as products of a few layers of this width make.
  void expect_near(const at::Tensor& actual, const at::Tensor& expected, const std::string& what) const {
    const double largest = expected.numel() > 0 ? expected.abs().max().item<double>() : 0.0;
    expect_close(actual.to(at::kDouble), expected,
                 {0.0, 1000 * epsilon(std::get<1>(GetParam())) * largest + 1e-15}, what);
  }

  static at::Tensor gradient_of(const at::Tensor& leaf) {
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf);
  }

  /// Drawn sources of a layout, in the pass and in the reference.
  struct Attack {
    Attack(const Reconstruction& the_test, const SourceLayout& of)
        : test(the_test),
          layout(of),
          values(uniform_values({of.rows(), of.columns}, 8, 0.0, 1.0)
                     .to(the_test.importance_.scalar_type())
                     .to(at::kDouble)
                     .requires_grad_(true)),
          gradient(at::zeros({of.rows(), of.columns}, the_test.importance_.options())) {}

    /// Position (b, t) reads row (b mod the layout's rows, t mod its times).
    std::function<WrittenOutMask(std::size_t)> masks(const WrittenOut& reference) const {
      return [this, &reference](std::size_t i) {
        const std::int64_t B = test.clean_.B(), T = test.clean_.T(), C = test.d_.sites[i].C;
        std::vector<std::int64_t> rows;
        for (std::int64_t n = 0; n < B * T; ++n)
          rows.push_back(n / T % layout.batch_rows * layout.time_rows + n % T % layout.time_rows);
        const at::Tensor columns =
            site_columns(values, layout, i).index_select(0, at::tensor(rows, at::kLong));
        return WrittenOutMask{reference.mask(i, columns.narrow(1, 0, C)), columns.narrow(1, C, 1)};
      };
    }
    SourceOf sources() const {
      return read_sources(layout, values.detach().to(gradient.scalar_type()), test.clean_.T(), 0,
                          SourceGradient{gradient});
    }
    void expect_gradient() const { test.expect_near(gradient, gradient_of(values), "dr and dδ"); }

    const Reconstruction& test;
    SourceLayout layout;
    at::Tensor values, gradient;
  };

  RunConfig config_;
  Decomposition d_, exact_;
  at::Tensor tokens_, importance_, importance_gradient_, components_gradient_;
  CleanPass clean_, exact_clean_;
  std::int64_t N_ = 0;
  BoundSubcomponents components_;
  PassContext context_;
};

TEST_P(Reconstruction, ConstantMasksTakeRouting) {
  for (const double r : {0.0, 1.0}) {
    SetUp();
    const WrittenOut reference = written_out();
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
  importance_ = importance_.gt(0.5).to(importance_.scalar_type());
  context_.importance = importance_;
  context_.importance_gradient = at::Tensor();
  const WrittenOut reference = written_out();
  const at::Tensor zero = at::zeros({N_, 1}, at::kDouble);
  const auto mask_of = [&](std::size_t i) { return WrittenOutMask{reference.g(i).detach(), zero}; };
  expect_as_written(reference, reference.squared_error(reference.run(mask_of)), constant_sources(0.0, 0.0),
                    {}, Comparison::squared_error);
}

TEST_P(Reconstruction, LayerwiseIsTheMeanOverSitesMaskedAlone) {
  for (const Comparison comparison : {Comparison::output, Comparison::hidden_acts}) {
    SetUp();
    const WrittenOut reference = written_out();
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
  const WrittenOut reference = written_out();
  const SourceLayout layout = make_layout(d_.sites, clean_.B(), clean_.T());
  const Attack attack(*this, layout);
  const RoutingDraw routing = drawn_routing();
  expect_as_written(reference,
                    reference.squared_error_of_sites(reference.run(attack.masks(reference), routing.masks)),
                    attack.sources(), routing, Comparison::hidden_acts);
  attack.expect_gradient();
}

TEST_P(Reconstruction, SourcesOfEveryScopeAreSharedByTheirRows) {
  const std::int64_t B = clean_.B(), T = clean_.T();
  // per_position, per_datapoint; shared_across_batch, and across positions; pooled.
  for (const auto& [rows, times] :
       {std::pair{B, T}, {std::int64_t{1}, T}, {std::int64_t{1}, std::int64_t{1}}, {B, std::int64_t{1}}}) {
    SetUp();
    const WrittenOut reference = written_out();
    const Attack attack(*this, make_layout(d_.sites, rows, times));
    expect_as_written(reference, reference.kl(reference.run(attack.masks(reference))), attack.sources(), {},
                      Comparison::output);
    attack.expect_gradient();
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, Reconstruction,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(at::kFloat, at::kDouble)),
                         [](const auto& one) {
                           return std::string(std::get<0>(one.param) ? "head_decomposed" : "head_frozen") +
                                  (std::get<1>(one.param) == at::kFloat ? "_float32" : "_float64");
                         });

TEST(MostMaskedPositions, LeaveRoomAboveTheMean) {
  EXPECT_DOUBLE_EQ(masked_share(UniformKSubsetRoutingConfig{}, 24), 25.0 / 48.0);
  EXPECT_DOUBLE_EQ(masked_share(StaticProbabilityRoutingConfig{.probability = 0.25}, 24), 0.25);
  EXPECT_DOUBLE_EQ(masked_share(AllRoutingConfig{}, 24), 1.0);
  // 4,266.7 + 8 x 45.2 = 4,628.3 positions, in whole units of 128.
  EXPECT_EQ(most_masked_positions(25.0 / 48.0, 8192), 4736);
  EXPECT_EQ(most_masked_positions(25.0 / 48.0, 100), 100);
  EXPECT_EQ(most_masked_positions(0.0, 1000), 0);
  EXPECT_EQ(most_masked_positions(1.0, 1000), 1000);
}

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
