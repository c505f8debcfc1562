#include "vpd/kernels/adamw.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

class AdamWTest : public DeviceTest {
 protected:
  at::Tensor number(double x) const { return at::full({}, x, at::TensorOptions(device()).dtype(at::kFloat)); }
};

/// The formula in float64.
struct Plain {
  at::Tensor x, m, v;

  void update(const at::Tensor& gradient, double divisor, const AdamWUpdate& u) {
    const at::Tensor g = gradient / divisor;
    x = x * (1.0 - u.numbers.rate * u.weight_decay);
    m = u.beta1 * m + (1.0 - u.beta1) * g;
    v = u.beta2 * v + (1.0 - u.beta2) * g.square();
    const at::Tensor m_hat = m / (1.0 - std::pow(u.beta1, static_cast<double>(u.numbers.count))),
                     v_hat = v / (1.0 - std::pow(u.beta2, static_cast<double>(u.numbers.count)));
    x = x - u.numbers.rate * m_hat / (v_hat.sqrt() + u.eps);
  }
};

TEST_P(AdamWTest, IsTheFormula) {
  for (const std::int64_t count : {1, 3, 64, 1037}) {
    for (const bool late : {false, true}) {
      for (const double divisor : {1.0, 2.5}) {
        SCOPED_TRACE(::testing::Message() << count << (late ? ", late" : "") << ", divided by " << divisor);
        const at::Tensor x = broad(uniform_values({count}, 1)), m = at::zeros_like(x), v = at::zeros_like(x);
        const at::Tensor narrow = dtype() == at::kFloat ? x.to(at::kBFloat16) : at::Tensor();
        Plain plain{exact(x).clone(), exact(m).clone(), exact(v).clone()};
        for (int step = 1; step <= 4; ++step) {
          const at::Tensor gradient = broad(uniform_values({count}, 10 + static_cast<std::uint64_t>(step)));
          AdamWUpdate update{.weight_decay = 0.1, .numbers = {.rate = 0.0625 / step, .count = step}};
          plain.update(exact(gradient), divisor, update);
          if (late) {
            AdamWNumbers& numbers = update.numbers;
            numbers.late_rate = number(numbers.rate), numbers.late_count = number(step);
            numbers.rate = 1e6, numbers.count = 1000000;  // not what is read
          }
          if (divisor != 1.0) update.divisor = number(divisor);
          update.skip = number(0.0);
          adamw(x, gradient, m, v, narrow, update);
        }
        // A late rate or count is a float32; where v is small next to eps nothing else loses digits.
        const Tolerance tolerance = rounding(dtype(), 64, 1.0);
        expect_close(x, plain.x.to(dtype()), late ? rounding(at::kFloat, 64, 1.0) : tolerance, "x");
        expect_close(m, plain.m.to(dtype()), tolerance, "m");
        expect_close(v, plain.v.to(dtype()), tolerance, "v");
        if (narrow.defined()) expect_identical(narrow, x.to(at::kBFloat16), "narrow");
      }
    }
  }
}

TEST_P(AdamWTest, MovesNothingWhereItIsToldToSkip) {
  const at::Tensor x = broad(uniform_values({37}, 1)), before = x.clone(), m = broad(uniform_values({37}, 2)),
                   m_before = m.clone(), v = broad(uniform_values({37}, 3, 0.0, 1.0)), v_before = v.clone();
  const at::Tensor broken = at::full_like(x, NAN);
  AdamWUpdate update;
  update.weight_decay = update.numbers.rate = 0.1;
  update.skip = number(1.0);
  adamw(x, broken, m, v, {}, update);
  expect_identical(x, before, "x");
  expect_identical(m, m_before, "m");
  expect_identical(v, v_before, "v");
}

TEST_P(AdamWTest, SaysWhatIsWrong) {
  const at::Tensor x = broad(at::zeros({4}));
  expect_usage_error([&] { adamw(x, x.narrow(0, 0, 3), x, x, {}, {}); }, "the gradient as 4 contiguous");
  expect_usage_error([&] { adamw(x, x, x, x, x, {}); }, "the narrow copy as 4 contiguous BFloat16");
  expect_usage_error([&] { adamw(x.to(at::kBFloat16), x, x, x, {}, {}); }, "float32 or float64");
  AdamWUpdate update;
  update.divisor = at::zeros({2});
  expect_usage_error([&] { adamw(x, x, x, x, {}, update); }, "the divisor as one float32, found 2");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, AdamWTest, ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})),
                         device_case_name);

}  // namespace
}  // namespace vpd
