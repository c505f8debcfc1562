#include "support/check_gradient.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest-spi.h>

#include "support/device_case.hpp"

namespace vpd::testing {
namespace {

at::Tensor value(const std::vector<at::Tensor>& x) { return (x[0].exp() * x[1]).sum(); }

std::vector<at::Tensor> inputs() { return {uniform_values({2, 3}, 1), uniform_values({2, 3}, 2)}; }

TEST(CheckGradient, TakesTheRightOne) {
  const auto x = inputs();
  check_gradient(value, x, {x[0].exp() * x[1], x[0].exp()}, "exponential");
  check_gradient(value, x, {at::Tensor(), x[0].exp()}, "the second alone");
  check_gradient(value, x);
}

TEST(CheckGradient, RejectsAWrongOne) {
  static const auto x = inputs();
  EXPECT_NONFATAL_FAILURE(check_gradient(value, x, {x[0].exp() * x[1], -x[0].exp()}, "sign"),
                          "sign, input 1: worst at");
  EXPECT_NONFATAL_FAILURE(check_gradient(value, x, {x[0].exp() * x[1] * 1.00001, x[0].exp()}, "factor"),
                          "factor, input 0");
  EXPECT_NONFATAL_FAILURE(check_gradient(value, x, {at::Tensor(), x[0].exp().sum()}, "shape"),
                          "shape, input 1: expected shape [2, 3]");
}

TEST(CheckGradient, RejectsInputsThatAreNotFloat64) {
  EXPECT_FATAL_FAILURE(
      check_gradient(value, {at::ones({1}, at::kFloat)}, {at::ones({1}, at::kFloat)}, "float32"),
      "need float64");
}

}  // namespace
}  // namespace vpd::testing
