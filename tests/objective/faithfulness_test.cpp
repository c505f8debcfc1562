// ‖W - (V U)ᵀ‖² of one site and its gradient against the formula in double precision, where (V U)ᵀ is random
// and where it is all but W, so that most of both cancels.

#include "vpd/objective/faithfulness.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"

namespace vpd::testing {
namespace {

class Faithfulness : public DeviceTest {
 protected:
  void expect_the_squared_difference(double gradient_epsilon);
};

TEST_P(Faithfulness, IsTheSquaredDifferenceToThePrecisionOfTheMasters) {
  expect_the_squared_difference(dtype() == at::kBFloat16 ? 0x1p-16 : 4 * epsilon(wide()));
}

class FaithfulnessBesideTf32 : public Faithfulness {
 protected:
  void TearDown() override { at::globalContext().setAllowTF32CuBLAS(false); }
};

TEST_P(FaithfulnessBesideTf32, IsAsPreciseAsBesideBFloat16) {
  at::globalContext().setAllowTF32CuBLAS(true);
  expect_the_squared_difference(0x1p-16);
}

void Faithfulness::expect_the_squared_difference(double gradient_epsilon) {
  const GoldenCase golden("plain", at::kFloat);
  std::vector<std::string> warnings;
  for (const double apart : {1.0, 1e-4}) {
    Decomposition d = make_decomposition(golden.config, {device(), dtype(), wide()}, "plain", warnings);
    load_weights(d, golden.config.initialize_from.value());
    for (const std::size_t i : {std::size_t{0}, std::size_t{5}}) {
      SCOPED_TRACE(::testing::Message() << d.sites[i].name << ", " << apart << " apart");
      const at::Tensor V = d.components.V(i), U = d.components.U(i), W = d.matrix(i).master;
      const at::Tensor noise = uniform_values(W.sizes(), 3);
      at::Tensor(W).copy_(at::mm(exact(V), exact(U)).t() + apart * noise);

      const double seed = 0.7;
      const at::Tensor V64 = exact(V).requires_grad_(true), U64 = exact(U).requires_grad_(true);
      const at::Tensor expected = (exact(W) - at::mm(V64, U64).t()).square().sum();
      (expected * seed).backward();
      const at::Tensor dV = at::zeros_like(V), dU = at::zeros_like(U);
      const double value = squared_delta(d, i, seed, dV, dU).item<double>();
      EXPECT_EQ(squared_delta(d, i, 0.0, {}, {}).item<double>(), value);

      // An entry is off by a few roundings of the products that it sums.
      const double C = static_cast<double>(d.sites[i].C), entries = static_cast<double>(W.numel());
      const double off = 8 * epsilon(wide()) * at::mm(exact(V).abs(), exact(U).abs()).max().item<double>();
      EXPECT_NEAR(value, expected.item<double>(),
                  entries * off * (2 * apart + off) + 4 * epsilon(wide()) * expected.item<double>());
      const auto expect_near = [&](const at::Tensor& actual, const at::Tensor& slope, const at::Tensor& other,
                                   const char* what) {
        const double terms = static_cast<double>(other.numel()) / C;
        const double largest = 2 * seed * terms * other.abs().max().item<double>();
        expect_close(exact(actual), slope, {0.0, largest * (off + (4 + terms) * gradient_epsilon * apart)},
                     what);
      };
      expect_near(dV, V64.grad(), exact(U), "dV");
      expect_near(dU, U64.grad(), exact(V), "dU");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Faithfulness,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);
INSTANTIATE_TEST_SUITE_P(Everywhere, FaithfulnessBesideTf32, ::testing::ValuesIn(device_cases({at::kFloat})),
                         device_case_name);

}  // namespace
}  // namespace vpd::testing
