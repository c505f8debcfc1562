#include "vpd/kernels/norm.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/ops/differentiable.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

const std::vector<std::pair<std::int64_t, std::int64_t>> norm_shapes = {
    {1, 1}, {1, 3}, {3, 8}, {5, 13}, {67, 64}, {131, 37}, {3, 768}, {2, 2053}};
constexpr double norm_eps = 1e-5;

at::Tensor norm_reference(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor y = x / (x.square().mean(1, true) + norm_eps).sqrt();
  return weight.defined() ? y * weight : y;
}

/// dtype() is that of x.
class NormTest : public DeviceTest {
 protected:
  std::vector<at::ScalarType> output_types() const {
    if (dtype() == at::kDouble) return {at::kDouble};
    return {at::kFloat, at::kBFloat16};
  }

  template <class Check>
  void for_each_case(const Check& check) {
    for (const auto& [N, d] : norm_shapes) {
      for (const at::ScalarType output : output_types()) {
        for (const bool weighted : {true, false}) {
          for (const bool strided : {false, true}) {
            SCOPED_TRACE(::testing::Message()
                         << N << " x " << d << " to " << toString(output) << (weighted ? " weighted" : "")
                         << (strided ? " strided" : ""));
            const at::Tensor x = real(uniform_values({N, d}, 1, -3.0, 3.0));
            const at::Tensor weight = weighted ? broad(uniform_values({d}, 2, 0.5, 1.5)) : at::Tensor();
            check(strided ? column_slice(x) : x, weight, output, strided);
          }
        }
      }
    }
  }
};

TEST_P(NormTest, ForwardIsTheFormula) {
  for_each_case([&](const at::Tensor& x, const at::Tensor& weight, at::ScalarType output, bool strided) {
    const at::Tensor expected = norm_reference(exact(x), weight.defined() ? exact(weight) : weight);
    const auto d = static_cast<double>(x.size(1));
    const Tolerance tolerance = rounding(wide(), 8 + std::sqrt(d), std::sqrt(d) * 1.5, output);
    at::Tensor reciprocal;
    const at::Tensor out =
        strided ? column_slice(at::zeros(x.sizes(), x.options().dtype(output))) : at::Tensor();
    const at::Tensor y = rms_norm_forward(x, weight, norm_eps, output, &reciprocal, out);
    expect_close(y, expected.to(output), tolerance, "y");
    expect_close(reciprocal, (1.0 / (exact(x).square().mean(1) + norm_eps).sqrt()).to(wide()),
                 {(8 + std::sqrt(d)) * epsilon(wide())}, "reciprocal");
    if (strided) {
      EXPECT_EQ(y.data_ptr(), out.data_ptr());
      EXPECT_TRUE(surroundings_are_untouched(out));
    }
    expect_identical(rms_norm_forward(x, weight, norm_eps, output, nullptr), y.contiguous(),
                     "without the reciprocal");
  });
}

TEST_P(NormTest, BackwardIsTheGradient) {
  for_each_case([&](const at::Tensor& x, const at::Tensor& weight, at::ScalarType output, bool strided) {
    at::Tensor gradient = uniform_values(x.sizes(), 3).to(device(), output);
    if (strided) gradient = column_slice(gradient);
    const at::Tensor leaf = exact(x).clone().requires_grad_(true);
    const at::Tensor weight_leaf =
        weight.defined() ? exact(weight).clone().requires_grad_(true) : at::Tensor();
    (norm_reference(leaf, weight_leaf) * exact(gradient)).sum().backward();

    at::Tensor reciprocal;
    rms_norm_forward(x, weight, norm_eps, output, &reciprocal);
    at::Tensor dw, before;
    if (weight.defined()) {
      before = broad(uniform_values({x.size(1)}, 4));
      dw = before.clone();
    }
    const at::Tensor dx = rms_norm_backward(gradient, x, weight, reciprocal, dw);
    const auto N = static_cast<double>(x.size(0)), d = static_cast<double>(x.size(1));
    // 1 / rms of a row of width 1 or 3 can be large.
    const double magnitude = 8.0 * std::max(1.0, exact(reciprocal).max().item<double>());
    expect_close(dx, leaf.grad().to(dtype()), rounding(wide(), 16 + std::sqrt(d), magnitude, dtype()), "dx");
    if (dw.defined()) {
      expect_close(dw, (weight_leaf.grad() + exact(before)).to(wide()),
                   rounding(wide(), 16 + N, 2.0 * std::sqrt(d)), "dw");
    }
  });
}

// The sum is the plain one, the norm that of the sum, and their gradients those of both.
TEST_P(NormTest, WhatIsAddedFirstIsTheSumAndItsNorm) {
  for_each_case([&](const at::Tensor& x, const at::Tensor& weight, at::ScalarType output, bool strided) {
    const at::Tensor added = uniform_values(x.sizes(), 5, -1.0, 1.0).to(device(), output);
    at::Tensor sum, reciprocal, plain_reciprocal;
    if (dtype() == at::kBFloat16 && output == at::kFloat) {
      expect_usage_error([&] { add_rms_norm_forward(x, added, weight, norm_eps, output, &reciprocal, sum); },
                         "no wider than BFloat16, found Float");
      return;
    }
    const at::Tensor y = add_rms_norm_forward(x, added, weight, norm_eps, output, &reciprocal, sum);
    expect_identical(sum, (x.to(wide()) + added.to(wide())).to(dtype()), "sum");
    const at::Tensor plain = rms_norm_forward(sum, weight, norm_eps, output, &plain_reciprocal);
    if (strided) {  // off their alignment rows may be added up in another order
      const Tolerance tolerance{8 * epsilon(wide()) + epsilon(output)};
      expect_close(y, plain, tolerance, "norm");
      expect_close(reciprocal, plain_reciprocal, tolerance, "reciprocal");
    } else {
      expect_identical(y, plain, "norm");
      expect_identical(reciprocal, plain_reciprocal, "reciprocal");
    }

    const at::Tensor dy = uniform_values(x.sizes(), 3).to(device(), output),
                     dsum = real(uniform_values(x.sizes(), 4));
    for (const at::Tensor& arriving : {dsum, at::Tensor()}) {
      const at::Tensor leaf = exact(sum).clone().requires_grad_(true);
      at::Tensor loss = (norm_reference(leaf, weight.defined() ? exact(weight) : weight) * exact(dy)).sum();
      if (arriving.defined()) loss = loss + (leaf * exact(arriving)).sum();
      loss.backward();
      const at::Tensor dw = weight.defined() ? at::zeros_like(weight) : at::Tensor(),
                       plain_dw = dw.defined() ? dw.clone() : dw;
      const AddNormGradients both = add_rms_norm_backward(dy, arriving, sum, weight, reciprocal, dw);
      const double magnitude = 8.0 * std::max(1.0, exact(reciprocal).max().item<double>()) + 1.0;
      const double roundings = 16 + std::sqrt(static_cast<double>(x.size(1)));
      expect_close(both.x, leaf.grad().to(dtype()), rounding(wide(), roundings, magnitude, dtype()), "dx");
      expect_close(both.added, leaf.grad().to(output), rounding(wide(), roundings, magnitude, output),
                   "dadded");
      if (!dw.defined()) continue;
      rms_norm_backward(dy, sum, weight, reciprocal, plain_dw);
      expect_identical(dw, plain_dw, "dw");
    }
  });
}

TEST_P(NormTest, AddingFirstIsDifferentiable) {
  for (const int reads : {1, 2, 3}) {  // the sum, the norm, both
    SCOPED_TRACE(reads);
    const at::Tensor x = real(uniform_values({5, 13}, 1)).requires_grad_(),
                     added = real(uniform_values({5, 13}, 2)).requires_grad_();
    const at::Tensor of_sum = real(uniform_values({5, 13}, 3)), of_norm = real(uniform_values({5, 13}, 4));
    const auto loss = [&](const at::Tensor& sum, const at::Tensor& norm, const auto& as) {
      at::Tensor total = at::zeros({}, sum.options());
      if (reads & 1) total = total + (sum * as(of_sum)).sum();
      if (reads & 2) total = total + (norm * as(of_norm)).sum();
      return total;
    };
    const AddedNorm out = add_rms_norm(x, added, {}, norm_eps, dtype());
    loss(out.sum, out.norm, [](const at::Tensor& t) { return t; }).backward();
    const at::Tensor wide_x = exact(x.detach()).requires_grad_(),
                     wide_added = exact(added.detach()).requires_grad_();
    const at::Tensor sum = wide_x + wide_added;
    loss(sum, norm_reference(sum, {}), [](const at::Tensor& t) { return exact(t); }).backward();
    const Tolerance tolerance{8 * epsilon(dtype()), 32 * epsilon(dtype())};
    expect_close(x.grad(), wide_x.grad().to(dtype()), tolerance, "dx");
    expect_close(added.grad(), wide_added.grad().to(dtype()), tolerance, "dadded");
  }
}

TEST_P(NormTest, SmallRowsAreHeldUpByEps) {
  const at::Tensor x = real(at::full({2, 16}, 1e-8, at::kDouble));
  at::Tensor reciprocal;
  expect_close(rms_norm_forward(x, {}, 1e-6, dtype(), &reciprocal),
               real(at::full({2, 16}, 1e-8 / std::sqrt(1e-16 + 1e-6), at::kDouble)), {4 * epsilon(dtype())},
               "y");
  expect_close(rms_norm_forward(at::zeros_like(x), {}, 1e-6, dtype(), nullptr), at::zeros_like(x), {},
               "of zeros");
}

TEST_P(NormTest, NoRowsAreNoWork) {
  const at::Tensor x = real(at::zeros({0, 4})), dw = broad(at::ones({4}));
  at::Tensor reciprocal;
  EXPECT_EQ(rms_norm_forward(x, {}, norm_eps, dtype(), &reciprocal).size(0), 0);
  EXPECT_EQ(rms_norm_backward(x, x, {}, reciprocal, dw).size(0), 0);
  expect_identical(dw, broad(at::ones({4})), "dw");
}

TEST_P(NormTest, SaysWhatIsWrong) {
  const at::Tensor x = real(uniform_values({3, 4}, 1)), weight = broad(at::ones({4}));
  const at::ScalarType other = dtype() == at::kDouble ? at::kFloat : at::kDouble;
  at::Tensor reciprocal;
  rms_norm_forward(x, weight, norm_eps, dtype(), &reciprocal);
  expect_usage_error([&] { rms_norm_forward(x.to(at::kHalf), {}, norm_eps, at::kFloat, nullptr); },
                     "RMSNorm: x: expected float32");
  expect_usage_error([&] { rms_norm_forward(x, weight.to(at::kMeta), norm_eps, dtype(), nullptr); },
                     "on one device");
  expect_usage_error([&] { rms_norm_forward(x.t(), {}, norm_eps, dtype(), nullptr); },
                     "RMSNorm: x: expected");
  expect_usage_error([&] { rms_norm_forward(x, weight.narrow(0, 0, 3), norm_eps, dtype(), nullptr); },
                     "a weight of 4");
  expect_usage_error([&] { rms_norm_forward(x, {}, norm_eps, other, nullptr); },
                     "float64 on both sides or on neither");
  expect_usage_error([&] { rms_norm_forward(x, {}, norm_eps, dtype(), nullptr, x.narrow(0, 0, 2)); },
                     "RMSNorm: out: expected");
  expect_usage_error([&] { rms_norm_backward(x.to(other), x, weight, reciprocal, {}); },
                     "float64 on both sides or on neither");
  expect_usage_error([&] { rms_norm_backward(x.narrow(0, 0, 2), x, weight, reciprocal, {}); },
                     "RMSNorm: gradient: expected");
  expect_usage_error([&] { rms_norm_backward(x, x, weight, reciprocal.narrow(0, 0, 2), {}); },
                     "reciprocals of 3 rows, found 2");
  expect_usage_error([&] { rms_norm_backward(x, x, weight, reciprocal, weight.narrow(0, 0, 2)); },
                     "found 2 of");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, NormTest,
                         ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble, at::kBFloat16})),
                         device_case_name);

TEST(NormGradient, IsTheSlope) {
  const at::Tensor x = uniform_values({3, 5}, 1), weight = uniform_values({5}, 2),
                   dy = uniform_values({3, 5}, 3);
  at::Tensor reciprocal;
  rms_norm_forward(x, weight, norm_eps, at::kDouble, &reciprocal);
  const at::Tensor dw = at::zeros_like(weight);
  const at::Tensor dx = rms_norm_backward(dy, x, weight, reciprocal, dw);
  check_gradient(
      [&](const std::vector<at::Tensor>& in) {
        return (rms_norm_forward(in[0], in[1], norm_eps, at::kDouble, nullptr) * dy).sum();
      },
      {x, weight}, {dx, dw}, "x, weight");
}

}  // namespace
}  // namespace vpd
