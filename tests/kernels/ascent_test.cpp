#include "vpd/kernels/ascent.hpp"

#include <cmath>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

constexpr RandomKey ascent_key{0x0badf00du, 0xfeedbeefu};

class AscentTest : public DeviceTest {};

TEST_P(AscentTest, FillsAreThoseOfTheCounters) {
  for (const auto& [R, C] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 4}, {5, 7}, {2, 64}, {7, 131}, {2, 1029}}) {
    for (const std::int64_t first_row : {std::int64_t{0}, (std::int64_t{1} << 32) - 1}) {
      at::Tensor expected = at::empty({R, C}, at::kDouble);
      auto values = expected.accessor<double, 2>();
      for (std::int64_t n = 0; n < R; ++n) {
        for (std::int64_t c = 0; c < C; ++c) {
          const auto row = static_cast<std::uint64_t>(n + first_row);
          std::uint32_t x[4] = {static_cast<std::uint32_t>(c / 4), static_cast<std::uint32_t>(row),
                                static_cast<std::uint32_t>(row >> 32), 0};
          philox(ascent_key, x[0], x[1], x[2], x[3]);
          values[n][c] = static_cast<double>(to_uniform(x[c % 4]));
        }
      }
      const at::Tensor whole = real(at::full({R, C}, -1.0)), slice = column_slice(whole);
      fill_uniform(whole, ascent_key, first_row);
      expect_identical(whole, expected.to(dtype()), "fill");
      fill_uniform(slice, ascent_key, first_row);
      expect_identical(slice, expected.to(dtype()), "fill of a slice");
      EXPECT_TRUE(surroundings_are_untouched(slice));
      if (R > 1) {
        const at::Tensor part = real(at::zeros({R - 1, C}));
        fill_uniform(part, ascent_key, first_row + 1);
        expect_identical(part, whole.narrow(0, 1, R - 1), "part");
      }
    }
  }
  fill_uniform(real(at::zeros({0, 4})), ascent_key);
}

TEST_P(AscentTest, FillsHaveUniformMoments) {
  const at::Tensor x = real(at::zeros({301, 1001}));
  fill_uniform(x, ascent_key);
  const auto count = static_cast<double>(x.numel());
  EXPECT_NEAR(exact(x).mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12.0 / count));
  EXPECT_NEAR(exact(x).square().mean().item<double>(), 1.0 / 3.0, 5 * std::sqrt(4.0 / 45.0 / count));
  EXPECT_GE(exact(x).min().item<double>(), 0.0);
  EXPECT_LT(exact(x).max().item<double>(), 1.0);
}

TEST_P(AscentTest, AdamClimbs) {
  for (const std::int64_t count : {1, 3, 4, 257, 1031}) {
    for (const bool clamp : {true, false}) {
      SCOPED_TRACE(::testing::Message() << count << (clamp ? " clamped" : ""));
      AscentRule rule;
      rule.beta1 = 0.5, rule.beta2 = 0.99, rule.eps = 1e-8, rule.rate = 0.25, rule.clamp = clamp;
      const at::Tensor x = real(uniform_values({count}, 1, 0.0, 1.0));
      const at::Tensor m = real(at::zeros({count})), v = real(at::zeros({count}));
      at::Tensor ex = exact(x).clone(), em = at::zeros_like(ex), ev = at::zeros_like(ex);
      for (std::int64_t ascents = 1; ascents <= 4; ++ascents) {
        rule.unbias1 = bias_correction(0.5, ascents), rule.unbias2 = bias_correction(0.99, ascents);
        // Not near 0: the first steps are those of a sign there, which rounding decides.
        const at::Tensor d =
            real(uniform_values({count}, 10 + static_cast<std::uint64_t>(ascents), 0.1, 1.0) *
                 uniform_values({count}, 20).sign());
        ascend(x, d, m, v, rule);
        em = 0.5 * em + 0.5 * exact(d), ev = 0.99 * ev + 0.01 * exact(d).square();
        const double t = static_cast<double>(ascents);
        ex = ex + 0.25 * (em / (1 - std::pow(0.5, t))) / ((ev / (1 - std::pow(0.99, t))).sqrt() + 1e-8);
        if (clamp) ex = ex.clamp(0.0, 1.0);
        // 1 - beta2 loses 7 bits in the type of the sources.
        expect_close(x, ex.to(dtype()), rounding(dtype(), 256, 1.0 + 0.25 * t), "x");
        expect_close(m, em.to(dtype()), rounding(dtype(), 8, 1.0), "m");
        expect_close(v, ev.to(dtype()), rounding(dtype(), 256, 0.05), "v");
      }
    }
  }
}

TEST_P(AscentTest, PartsMayHaveClimbedDifferentlyOften) {
  for (const std::int64_t part : {1, 3, 4, 131}) {
    AscentRule rule;
    rule.rate = 0.25;
    const at::Tensor counts = at::tensor({1, 7, 2}, at::kLong);
    const at::Tensor x = real(uniform_values({3, part}, 1, 0.0, 1.0)), d = real(uniform_values({3, part}, 2));
    const at::Tensor m = real(uniform_values({3, part}, 3)), v = real(uniform_values({3, part}, 4, 0.1, 1.0));
    const at::Tensor alone = x.clone(), am = m.clone(), av = v.clone();
    for (std::int64_t row = 0; row < 3; ++row) {
      const auto ascents = counts[row].item<std::int64_t>();
      rule.unbias1 = bias_correction(rule.beta1, ascents),
      rule.unbias2 = bias_correction(rule.beta2, ascents);
      const auto one = [&](const at::Tensor& y) { return y.narrow(0, row, 1); };
      ascend(one(alone), one(d), one(am), one(av), rule);
    }
    ascend(x, d, m, v, rule, counts.to(device()));
    // 1 - 0.99 passes on a hundredfold what a device's pow is off, of which the root leaves half.
    expect_close(x, alone, rounding(dtype(), 64, 0.25), "x");
    expect_close(m, am, rounding(dtype(), 2, 1.0), "m");
    expect_close(v, av, rounding(dtype(), 2, 1.0), "v");
  }
}

TEST_P(AscentTest, SignStepsClimb) {
  AscentRule rule;
  rule.adam = false, rule.rate = 0.1;
  const at::Tensor start = real(at::tensor({0.5, 0.5, 0.5, 0.95, 0.05}, at::kDouble));
  const at::Tensor d = real(at::tensor({3.0, -1e-20, 0.0, 1.0, -2.0}, at::kDouble));
  at::Tensor x = start.clone();
  ascend(x, d, {}, {}, rule);
  expect_close(x, at::tensor({0.6, 0.4, 0.5, 1.0, 0.0}, at::kDouble).to(dtype()), rounding(dtype(), 2, 1.0),
               "clamped");
  rule.clamp = false;
  x = start.clone();
  ascend(x, d, {}, {}, rule);
  expect_close(x, at::tensor({0.6, 0.4, 0.5, 1.05, -0.05}, at::kDouble).to(dtype()),
               rounding(dtype(), 2, 1.0), "free");
}

TEST_P(AscentTest, TakesMatricesAndPartsOfThem) {
  AscentRule rule;
  const at::Tensor start = real(uniform_values({7, 5}, 1, 0.0, 1.0)), d = real(uniform_values({7, 5}, 2));
  const at::Tensor whole = start.clone(), m = at::zeros_like(start), v = at::zeros_like(start);
  ascend(whole, d, m, v, rule);
  // Rows 1 to 6 start off the boundaries that vectors of elements need.
  const at::Tensor parts = start.clone(), pm = at::zeros_like(start), pv = at::zeros_like(start);
  for (const auto& [begin, rows] : {std::pair{0, 1}, std::pair{1, 6}}) {
    const auto part = [&, first = begin, count = rows](const at::Tensor& y) {
      return y.narrow(0, first, count);
    };
    ascend(part(parts), part(d), part(pm), part(pv), rule);
  }
  expect_close(parts, whole, rounding(dtype(), 2, 1.0), "x");
  expect_close(pv, v, rounding(dtype(), 2, 1.0), "v");
}

TEST_P(AscentTest, SaysWhatIsWrong) {
  const at::Tensor x = real(uniform_values({4, 6}, 1)), d = real(uniform_values({4, 6}, 2));
  AscentRule rule;
  expect_usage_error([&] { ascend(x, d, {}, {}, rule); }, "Adam needs moments");
  expect_usage_error([&] { ascend(x, d, d.clone(), d.narrow(0, 0, 2), rule); }, "Adam needs moments");
  const auto counts = [&](std::int64_t parts, at::ScalarType type) {
    return at::ones({parts}, at::TensorOptions().dtype(type).device(device()));
  };
  expect_usage_error([&] { ascend(x, d, d.clone(), d.clone(), rule, counts(5, at::kLong)); },
                     "int64 counts of equal parts of 24 sources, found 5 of Long");
  expect_usage_error([&] { ascend(x, d, d.clone(), d.clone(), rule, counts(4, at::kFloat)); },
                     "found 4 of Float");
  expect_usage_error([&] { ascend(x, d.to(at::kMeta), d.clone(), d.clone(), rule); }, "on one device");
  rule.adam = false;
  expect_usage_error([&] { ascend(x, d.t(), {}, {}, rule); }, "contiguous float32 or float64 sources");
  expect_usage_error([&] { ascend(x.narrow(1, 0, 3), d.narrow(1, 0, 3), {}, {}, rule); },
                     "contiguous float32 or float64");
  expect_usage_error([&] { ascend(x.to(at::kBFloat16), d.to(at::kBFloat16), {}, {}, rule); },
                     "float32 or float64 sources");
  expect_usage_error([&] { fill_uniform(x.t(), ascent_key); }, "uniform draw: expected");
  expect_usage_error([&] { fill_uniform(x.to(at::kBFloat16), ascent_key); }, "uniform draw: expected");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, AscentTest, ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})),
                         device_case_name);

}  // namespace
}  // namespace vpd
