// Where importances lie and where errors are, against plain sums over the reference importances of
// tests/data.

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support.hpp"
#include "vpd/passes/clean_pass.hpp"

namespace vpd::testing {
namespace {

class Distribution : public ::testing::TestWithParam<const char*> {
 protected:
  /// The reference importances [B T, C] of a site.
  static at::Tensor importances(const GoldenCase& golden, const Site& site) {
    return golden.value("lower/" + site.name).flatten(0, 1);
  }
};

TEST_P(Distribution, L0ByPositionIsTheMeanOverRows) {
  const GoldenCase golden(GetParam(), at::kDouble, {"evaluation.metrics=[{type: ci_l0, threshold: 0.3}]"});
  at::Tensor expected;
  for (const Site& site : golden.decomposition.sites) {
    const at::Tensor here = golden.value("lower/" + site.name).gt(0.3).sum(2).to(at::kDouble).mean(0);
    expected = expected.defined() ? expected + here : here;
  }
  for (const int lanes : {1, 2, 4}) {
    const Evaluated found = evaluate_golden(golden, lanes);
    const std::vector<double>& l0 = found.arrays.at("l0_by_position");
    ASSERT_EQ(static_cast<std::int64_t>(l0.size()), expected.size(0));
    double mean = 0.0;
    for (std::size_t t = 0; t < l0.size(); ++t) {
      EXPECT_NEAR(l0[t], expected[static_cast<std::int64_t>(t)].item<double>(), 1e-12) << "position " << t;
      mean += l0[t] / static_cast<double>(l0.size());
    }
    EXPECT_NEAR(mean, found.at("l0/total"), 1e-9);
  }
}

TEST_P(Distribution, HistogramsCountImportancesAndDensities) {
  const GoldenCase golden(GetParam(), at::kDouble,
                          {"evaluation.metrics=[{type: ci_histogram, threshold: 0.25, bins: 8}]"});
  for (const int lanes : {1, 2, 4}) {
    const Evaluated found = evaluate_golden(golden, lanes);
    const std::vector<double>&edges = found.arrays.at("ci_histogram/edges"),
          &decades = found.arrays.at("density_histogram/edges");
    ASSERT_EQ(edges.size(), 9U);
    ASSERT_EQ(decades.size(), 12U);
    EXPECT_EQ(decades.front(), 0.0);
    EXPECT_NEAR(decades[3], 1e-4, 1e-18);
    EXPECT_EQ(decades.back(), 1.0);
    double active = 0.0;
    for (const Site& site : golden.decomposition.sites) {
      const at::Tensor g = importances(golden, site).contiguous();
      const std::int64_t N = g.size(0);
      std::vector<double> bins(edges.size()), densities(decades.size());
      const auto bin_of = [](const std::vector<double>& bounds, double value) {
        std::size_t k = 0;
        while (bounds[k] < value) ++k;
        return k;
      };
      double here = 0.0;
      for (std::int64_t c = 0; c < site.C; ++c) {
        double above = 0.0;
        for (std::int64_t n = 0; n < N; ++n) {
          const double value = g[n][c].item<double>();
          ++bins[bin_of(edges, value)];
          above += value > 0.25;
        }
        ++densities[bin_of(decades, above / static_cast<double>(N))];
        here += above;
      }
      EXPECT_EQ(found.arrays.at("ci_histogram/" + site.name), bins) << site.name << ", " << lanes << " lanes";
      EXPECT_EQ(found.arrays.at("density_histogram/" + site.name), densities) << site.name;
      EXPECT_NEAR(found.at("density/" + site.name), here / static_cast<double>(N * site.C), 1e-12);
      active += here / static_cast<double>(N);
    }
    EXPECT_NEAR(found.at("density/total"), active / static_cast<double>(golden.decomposition.sites.total_C()),
                1e-12);
  }
}

TEST(Distributions, HistogramsAddUpOverBatches) {
  const std::string metric = "{type: ci_histogram}, {type: ci_l0, threshold: 0.1}";
  const GoldenCase one("plain", at::kDouble, on_training_rows(10, 1, metric)),
      three("plain", at::kDouble, on_training_rows(4, 3, metric));
  Evaluated a = evaluate_golden(one), b = evaluate_golden(three);
  EXPECT_NE(a.arrays.at("ci_histogram/h.0.mlp.c_fc"), b.arrays.at("ci_histogram/h.0.mlp.c_fc"));
  const GoldenCase same("plain", at::kDouble, on_training_rows(5, 2, metric));
  b = evaluate_golden(same);
  EXPECT_EQ(a.arrays.at("ci_histogram/h.0.mlp.c_fc"), b.arrays.at("ci_histogram/h.0.mlp.c_fc"));
  EXPECT_EQ(a.arrays.at("density_histogram/h.0.mlp.c_fc"), b.arrays.at("density_histogram/h.0.mlp.c_fc"));
  for (std::size_t t = 0; t < a.arrays.at("l0_by_position").size(); ++t)
    EXPECT_NEAR(a.arrays.at("l0_by_position")[t], b.arrays.at("l0_by_position")[t], 1e-12);
  // L0 above the same threshold is the density times Σ C.
  EXPECT_NEAR(a.at("density/total") * static_cast<double>(one.decomposition.sites.total_C()),
              a.at("l0/total"), 1e-9);
}

/// A forward with masks g and no Δ-component, in the plain form of the method, that measures each site.
class ImportancesAsMasks final : public Executor {
 public:
  ImportancesAsMasks(const GoldenCase& golden, const CleanPass& clean) : golden_(golden), clean_(clean) {}

  at::Tensor linear(const Matrix& matrix, const at::Tensor& x) override {
    const Decomposition& d = golden_.decomposition;
    const int site = d.sites.of_matrix()[matrix.index];
    const at::Tensor& W = matrix.weight.value;
    at::Tensor y;
    if (site < 0) {
      y = at::matmul(x, W.t());
    } else {
      const auto i = static_cast<std::size_t>(site);
      const at::Tensor V = d.components.V(i), U = d.components.U(i);
      const at::Tensor g = golden_.value("lower/" + d.sites[i].name).flatten(0, 1);
      y = at::matmul(at::matmul(x, V) * g, U);
    }
    if (matrix.bias.value.defined()) y = y + matrix.bias.value;
    if (site >= 0) {
      const auto i = static_cast<std::size_t>(site);
      errors[d.sites[i].name] = (y - clean_.outputs[i]).square().mean().item<double>();
    }
    return y;
  }

  std::map<std::string, double> errors;

 private:
  const GoldenCase& golden_;
  const CleanPass& clean_;
};

TEST_P(Distribution, HiddenActsOfEachSite) {
  const GoldenCase golden(GetParam(), at::kDouble, {"evaluation.metrics=[{type: hidden_acts}]"});
  const Decomposition& d = golden.decomposition;
  const at::NoGradGuard no_grad;
  const CleanPass clean = clean_pass(d, golden.fixed.load("tokens"), /*keep_outputs=*/true);
  ImportancesAsMasks executor(golden, clean);
  d.target->forward(clean.input, executor);
  for (const int lanes : {1, 2, 4}) {
    const Evaluated found = evaluate_golden(golden, lanes);
    double sum = 0.0, stochastic = 0.0, widths = 0.0;
    for (const Site& site : d.sites) {
      const double here = found.at("hidden_acts/ci_masked/" + site.name);
      EXPECT_NEAR(here, executor.errors.at(site.name), 1e-6 * here) << site.name << ", " << lanes << " lanes";
      const auto width = static_cast<double>(site.d_out);
      sum += width * here, stochastic += width * found.at("hidden_acts/stochastic/" + site.name);
      widths += width;
    }
    // The whole is the mean over all entries.
    EXPECT_NEAR(found.at("hidden_acts/ci_masked"), sum / widths, 1e-12 * sum);
    EXPECT_NEAR(found.at("hidden_acts/stochastic"), stochastic / widths, 1e-12 * stochastic);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Distribution, ::testing::Values("plain", "grouped"));

}  // namespace
}  // namespace vpd::testing
