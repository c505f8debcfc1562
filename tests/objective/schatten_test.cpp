// Schatten norms against the singular values of each rank-one matrix, in double precision.

#include "vpd/objective/schatten.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"

namespace vpd::testing {
namespace {

class Schatten : public ::testing::TestWithParam<double> {
 protected:
  SchattenPlan plan() const { return {.p = GetParam(), .eps = 1e-14}; }

  GoldenCase golden_{"plain", at::kDouble};
  Decomposition& d_ = golden_.decomposition;
};

TEST_P(Schatten, IsTheSumOfPowersOfSingularValues) {
  for (const std::size_t i : {std::size_t{0}, std::size_t{5}}) {
    const at::Tensor V = d_.components.V(i), U = d_.components.U(i);
    const at::Tensor weights = uniform_values({d_.sites[i].C}, 1, 0.0, 1.0);
    double all = 0.0, weighted = 0.0;
    for (std::int64_t c = 0; c < d_.sites[i].C; ++c) {
      const at::Tensor component = at::outer(U[c], V.select(1, c));
      const double norm = at::linalg_svdvals(component).max().pow(GetParam()).item<double>();
      all += norm;
      weighted += norm * weights[c].item<double>();
    }
    EXPECT_NEAR(schatten(d_, i, plan(), {}, 0.0, {}, {}).item<double>(), all, 1e-9 * all);
    EXPECT_NEAR(schatten(d_, i, plan(), weights, 0.0, {}, {}).item<double>(), weighted, 1e-9 * weighted);
  }
}

TEST_P(Schatten, GradientsAreItsSlopes) {
  const std::size_t i = 0;
  const at::Tensor V = d_.components.value(0), U = d_.components.value(1);
  const at::Tensor weights = uniform_values({d_.sites[i].C}, 1, 0.0, 1.0);
  for (const at::Tensor& w : {at::Tensor(), weights}) {
    const at::Tensor dV = at::zeros_like(V), dU = at::zeros_like(U), keep_V = V.clone(), keep_U = U.clone();
    schatten(d_, i, plan(), w, 0.7, dV, dU);
    check_gradient(
        [&](const std::vector<at::Tensor>& x) {
          at::Tensor(V).copy_(x[0]);
          at::Tensor(U).copy_(x[1]);
          return schatten(d_, i, plan(), w, 0.0, {}, {}) * 0.7;
        },
        {keep_V, keep_U}, {dV, dU}, "V, U");
    at::Tensor(V).copy_(keep_V);
    at::Tensor(U).copy_(keep_U);
  }
}

TEST_P(Schatten, InFloat32IsTheSame) {
  const GoldenCase narrow("plain", at::kFloat);
  const Decomposition& d = narrow.decomposition;
  for (const std::size_t i : {std::size_t{0}, std::size_t{5}}) {
    const at::Tensor V = d_.components.V(i), U = d_.components.U(i);
    const at::Tensor V32 = d.components.V(i), U32 = d.components.U(i);
    at::Tensor(V).copy_(V32);
    at::Tensor(U).copy_(U32);
    const at::Tensor weights = uniform_values({d.sites[i].C}, 1, 0.0, 1.0);
    const at::Tensor dV = at::zeros_like(V), dU = at::zeros_like(U), dV32 = at::zeros_like(V32),
                     dU32 = at::zeros_like(U32);
    const double exact = schatten(d_, i, plan(), weights, 0.7, dV, dU).item<double>(),
                 found = schatten(d, i, plan(), weights, 0.7, dV32, dU32).item<double>();
    EXPECT_NEAR(found, exact, 100 * epsilon(at::kFloat) * exact);
    for (const auto& [a, b] : {std::pair{dV32, dV}, {dU32, dU}})
      expect_close(a.to(at::kDouble), b, {0.0, 100 * epsilon(at::kFloat) * b.abs().max().item<double>()},
                   "gradient");
  }
}

TEST_P(Schatten, GradientsAddUpAndStayFiniteWhereASubcomponentIsZero) {
  const at::Tensor V = d_.components.value(0), U = d_.components.value(1);
  V.select(1, 2).zero_();
  U[2].zero_();
  const at::Tensor dV = at::ones_like(V), dU = at::ones_like(U);
  schatten(d_, 0, plan(), {}, 1.0, dV, dU);
  EXPECT_TRUE(dV.isfinite().all().item<bool>() && dU.isfinite().all().item<bool>());
  EXPECT_TRUE(dV.select(1, 2).eq(1.0).all().item<bool>()) << "nothing pulls on what is zero";
  EXPECT_TRUE(dV.select(1, 1).ne(1.0).any().item<bool>());
}

INSTANTIATE_TEST_SUITE_P(Exponents, Schatten, ::testing::Values(1.0, 0.9, 2.0));

}  // namespace
}  // namespace vpd::testing
