// Gradient attributions against LibTorch's autograd on the target written as plain products, in double
// precision, and which of them a batch keeps.

#include "vpd/passes/attribution.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"
#include "vpd/base/error.hpp"

namespace vpd::testing {
namespace {

/// Adds a leaf of zeros to what each site gives: its gradient is that of the site's output.
class LeafExecutor final : public Executor {
 public:
  explicit LeafExecutor(const Sites& sites) : leaves(sites.size()), inputs(sites.size()), sites_(sites) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    at::Tensor y = at::matmul(x, matrix.weight.value.t());
    if (matrix.bias.value.defined()) y = y + matrix.bias.value;
    const int site = sites_.of_matrix()[matrix.index];
    if (site < 0) return y;
    const auto i = static_cast<std::size_t>(site);
    inputs[i] = x.detach();
    leaves[i] = at::zeros_like(y).requires_grad_(true);
    return y + leaves[i];
  }

  std::vector<at::Tensor> leaves, inputs;

 private:
  const Sites& sites_;
};

class Attribution : public ::testing::TestWithParam<const char*> {};

TEST_P(Attribution, IsTheSlopeOfTheSumOfSquaresAlongEachSubcomponent) {
  const GoldenCase golden(GetParam(), at::kDouble);
  const Decomposition& d = golden.decomposition;
  const at::Tensor tokens = golden.fixed.load("tokens");
  const CleanPass clean = clean_pass(d, tokens);
  const at::Tensor scores = at::full({clean.N(), d.sites.total_C()}, -1.0, at::kDouble);
  attribute_squared_norm(d, clean, d.components.bind({}), scores);

  LeafExecutor executor(d.sites);
  d.target->forward(tokens, executor).square().sum().backward();
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const Site& site = d.sites[i];
    const at::Tensor V = d.components.V(i), U = d.components.U(i);
    // y moves along a_c U_c, a_c = x V_c, as the subcomponent grows.
    const at::Tensor expected =
        at::matmul(executor.inputs[i], V) * at::matmul(executor.leaves[i].grad(), U.t());
    expect_close(site.columns(scores), expected.abs(), {1e-9, 1e-9 * expected.abs().max().item<double>()},
                 site.name);
  }
}

// Of one logit at one position, with signs.
TEST_P(Attribution, HasTheRootThatIsAskedFor) {
  const GoldenCase golden(GetParam(), at::kDouble);
  const Decomposition& d = golden.decomposition;
  const at::Tensor tokens = golden.fixed.load("tokens");
  const CleanPass clean = clean_pass(d, tokens);
  const at::Tensor scores = at::zeros({clean.N(), d.sites.total_C()}, at::kDouble);
  const std::int64_t position = clean.T() - 1, logit = 5;
  const auto root = [&](const at::Tensor& output) {
    const at::Tensor one = at::zeros_like(output);
    one[position][logit] = 1.0;
    return one;
  };
  attribute(d, clean, d.components.bind({}), root, scores);

  LeafExecutor executor(d.sites);
  d.target->forward(tokens, executor)[position][logit].backward();
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor expected = at::matmul(executor.inputs[i], d.components.V(i)) *
                                at::matmul(executor.leaves[i].grad(), d.components.U(i).t());
    expect_close(d.sites.columns(scores, i), expected, {1e-9, 1e-9 * expected.abs().max().item<double>()},
                 d.sites[i].name);
    EXPECT_LT(expected.min().item<double>(), 0.0);
  }
}

TEST_P(Attribution, OfPartsOfTheBatchIsThatOfTheWhole) {
  const GoldenCase golden(GetParam(), at::kDouble);
  const Decomposition& d = golden.decomposition;
  const at::Tensor tokens = golden.fixed.load("tokens");
  const CleanPass clean = clean_pass(d, tokens);
  const BoundSubcomponents components = d.components.bind({});
  const at::Tensor whole = at::zeros({clean.N(), d.sites.total_C()}, at::kDouble), parts = whole.clone();
  attribute_squared_norm(d, clean, components, whole);
  for (const auto& [first, rows] : {std::pair<std::int64_t, std::int64_t>{0, 1}, {1, clean.B() - 1}}) {
    const CleanPass part = clean_pass(d, tokens.narrow(0, first, rows));
    attribute_squared_norm(d, part, components, parts.narrow(0, first * clean.T(), part.N()));
  }
  expect_close(parts, whole, {1e-10, 1e-10}, "scores");
}

TEST_P(Attribution, InFloat32IsTheSame) {
  at::Tensor scores[2];
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const GoldenCase golden(GetParam(), type);
    const Decomposition& d = golden.decomposition;
    const CleanPass clean = clean_pass(d, golden.fixed.load("tokens"));
    at::Tensor& found = scores[type == at::kDouble];
    found = at::zeros({clean.N(), d.sites.total_C()}, type);
    attribute_squared_norm(d, clean, d.components.bind({}), found);
  }
  expect_close(scores[0].to(at::kDouble), scores[1],
               {0.0, 1000 * epsilon(at::kFloat) * scores[1].max().item<double>()}, "scores");
}

INSTANTIATE_TEST_SUITE_P(Cases, Attribution, ::testing::Values("plain", "grouped"),
                         [](const auto& one) { return std::string(one.param); });

TEST(KeepLargest, KeepsTheLargestOfTheWholeBatch) {
  const at::Tensor scores = at::tensor({0.5, 0.1, 0.4, 0.0, 0.9, 0.3}, at::kDouble).view({3, 2});
  const auto kept = [&](std::int64_t count) {
    const at::Tensor masks = scores.clone();
    keep_largest(masks, count);
    return masks;
  };
  expect_identical(kept(1), at::tensor({0., 0., 0., 0., 1., 0.}, at::kDouble).view({3, 2}), "one");
  expect_identical(kept(3), at::tensor({1., 0., 1., 0., 1., 0.}, at::kDouble).view({3, 2}), "three");
  expect_identical(kept(6), at::ones({3, 2}, at::kDouble), "all");
}

TEST(KeepLargest, KeepsNoMoreWhereScoresAreEqual) {
  const at::Tensor masks = at::full({4, 5}, 0.25, at::kFloat);
  keep_largest(masks, 7);
  EXPECT_EQ(masks.sum().item<double>(), 7.0);
  EXPECT_EQ(masks.ne(0.0).sum().item<std::int64_t>(), 7);
}

TEST(KeepLargest, CountsOverTheBatch) {
  const Sites sites({{.name = "a", .matrix = 0, .d_in = 1, .d_out = 1, .C = 6}}, 1);
  EXPECT_EQ(kept_count(1.28, 256, sites), 327);
  EXPECT_EQ(kept_count(6.0, 10, sites), 60);
  EXPECT_EQ(kept_count(0.09, 10, sites), 1);
  for (const double k : {0.09, 6.5}) {
    try {
      check_kept(k, 10, sites, "objective: topk.k");
      FAIL() << "expected a ConfigError for " << k;
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what())
                    .find("objective: topk.k: expected a number of subcomponents a position from 1 in 10 "
                          "positions, which a batch has, to the 6 that there are, found"),
                std::string::npos)
          << error.what();
    }
  }
}

}  // namespace
}  // namespace vpd::testing
