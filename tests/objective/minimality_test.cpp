// The minimality terms against their formulas in double precision.

#include "vpd/objective/minimality.hpp"

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "vpd/config/objective.hpp"

namespace vpd::testing {
namespace {

constexpr std::int64_t N = 7, C = 4;
constexpr double importance_coefficient = 0.3, frequency_coefficient = 0.7;

/// Pre-activations on all sides of the kinks at 0 and 1, none near them.
at::Tensor pre_activations() {
  return at::cat({uniform_values({3, C}, 1, 0.1, 0.9), uniform_values({2, C}, 2, 1.1, 2.0),
                  uniform_values({2, C}, 3, -1.0, -0.1)});
}

double value_of(const at::Tensor& x) { return x.item<double>(); }

double plain_frequency(const at::Tensor& f, double reference) {
  double sum = 0.0;
  for (std::int64_t c = 0; c < f.numel(); ++c) {
    const double mean = f[c].item<double>();
    sum += mean * std::log2(1.0 + reference * mean);
  }
  return sum;
}

/// A config of both terms with the given keys of the frequency term.
ObjectivePlan objective_with(const PenaltyConfig& penalty, FrequencyMinimalityTerm frequency) {
  ImportanceMinimalityTerm importance;
  importance.coefficient = Coefficient::from_number(importance_coefficient);
  importance.p = {0.8, 0.8};
  importance.eps = 1e-3;
  importance.penalty = penalty;
  frequency.coefficient = Coefficient::from_number(frequency_coefficient);
  return plan_of(ObjectiveConfig{importance, frequency});
}

struct Form {
  const char* name;
  PenaltyConfig penalty;
  std::optional<double> reference;
};

class Minimality : public ::testing::TestWithParam<Form> {};

TEST_P(Minimality, ValuesAndGradientsAreTheFormulas) {
  const Form& form = GetParam();
  FrequencyMinimalityTerm frequency;
  frequency.reference_count = form.reference;
  const std::vector<MinimalitySum> sums = minimality_sums(objective_with(form.penalty, frequency), 30, 100);
  ASSERT_EQ(sums.size(), 1u) << "both terms share their sums";
  EXPECT_TRUE(sums[0].has_importance && sums[0].has_frequency);

  const at::Tensor z = pre_activations();
  const auto means = [&](const at::Tensor& x) { return penalty_sums(x, sums[0].penalty) / N; };
  const at::Tensor total = penalty_sums(z, sums[0].penalty);
  const double reference = form.reference.value_or(static_cast<double>(N));
  EXPECT_NEAR(value_of(importance_minimality(total, N)), value_of(means(z).sum()), 1e-13);
  EXPECT_NEAR(value_of(frequency_minimality(total, N, form.reference)), plain_frequency(means(z), reference),
              1e-12);

  const PenaltyGradient gradient = minimality_gradient(sums[0], total, N);
  const at::Tensor dz = squash_backward(z, at::zeros_like(z), &gradient, 1);
  check_gradient(
      [&](const std::vector<at::Tensor>& x) {
        const at::Tensor f = means(x[0]);
        return (importance_coefficient * f + frequency_coefficient * f * (1.0 + reference * f).log2()).sum();
      },
      {z}, {dz}, form.name);
}

TEST_P(Minimality, InFloat32IsTheSame) {
  const Form& form = GetParam();
  FrequencyMinimalityTerm frequency;
  frequency.reference_count = form.reference;
  const MinimalitySum sum = minimality_sums(objective_with(form.penalty, frequency), 30, 100)[0];
  const at::Tensor z32 = pre_activations().to(at::kFloat), z = z32.to(at::kDouble);
  const auto gradient_of = [&](const at::Tensor& x, const at::Tensor& total) {
    const PenaltyGradient gradient = minimality_gradient(sum, total, N);
    return squash_backward(x, at::zeros_like(x), &gradient, 1);
  };
  const at::Tensor total32 = penalty_sums(z32, sum.penalty), total = penalty_sums(z, sum.penalty);
  const double tolerance = 50 * epsilon(at::kFloat);
  for (const auto& [found, exact] :
       {std::pair{importance_minimality(total32, N), importance_minimality(total, N)},
        {frequency_minimality(total32, N, form.reference), frequency_minimality(total, N, form.reference)}})
    EXPECT_NEAR(value_of(found), value_of(exact), tolerance * value_of(exact));
  const at::Tensor exact = gradient_of(z, total);
  expect_close(gradient_of(z32, total32).to(at::kDouble), exact,
               {0.0, tolerance * exact.abs().max().item<double>()}, form.name);
}

INSTANTIATE_TEST_SUITE_P(Forms, Minimality,
                         ::testing::Values(Form{"power", PowerPenaltyConfig{}, {}},
                                           Form{"power_of_1000", PowerPenaltyConfig{}, 1000.0},
                                           Form{"smooth_l0", SmoothL0PenaltyConfig{}, {}},
                                           Form{"smooth_l0_of_1000", SmoothL0PenaltyConfig{}, 1000.0}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Minimality, SmoothL0AnnealsItsGamma) {
  const ObjectivePlan objective = objective_with(SmoothL0PenaltyConfig{}, {});
  const auto gamma = [&](std::int64_t step) {
    return minimality_sums(objective, step, 1000)[0].penalty.gamma.get();
  };
  EXPECT_EQ(gamma(0), 1.0);
  EXPECT_DOUBLE_EQ(gamma(450), 0.505);
  EXPECT_DOUBLE_EQ(gamma(900), 0.01);
  EXPECT_DOUBLE_EQ(gamma(999), 0.01);
}

TEST(Minimality, TermsWithPenaltiesOfTheirOwnHaveSumsOfTheirOwn) {
  FrequencyMinimalityTerm frequency;
  frequency.penalty = SmoothL0PenaltyConfig{};
  const std::vector<MinimalitySum> sums =
      minimality_sums(objective_with(PowerPenaltyConfig{}, frequency), 0, 100);
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[0].penalty.kind, PenaltyKind::power);
  EXPECT_EQ(sums[0].penalty.p.get(), 0.8);
  EXPECT_EQ(sums[0].penalty.eps, 1e-3);
  EXPECT_EQ(sums[1].penalty.kind, PenaltyKind::smooth_l0);
  EXPECT_EQ(sums[1].penalty.gamma.get(), 1.0);
  EXPECT_EQ(sums[0].frequency_coefficient, 0.0);
  EXPECT_EQ(sums[1].importance_coefficient, 0.0);
}

TEST(Frequency, OfAReferenceCountDoesNotDependOnTheBatch) {
  const at::Tensor row = uniform_values({1, C}, 4, 0.1, 0.9);
  const Penalty penalty{.p = 0.5, .eps = 1e-6};
  const auto of = [&](std::int64_t rows, std::optional<double> reference) {
    return value_of(frequency_minimality(penalty_sums(row.repeat({rows, 1}), penalty), rows, reference));
  };
  EXPECT_NEAR(of(4, 1024.0), of(64, 1024.0), 1e-11);
  EXPECT_GT(of(64, {}), 2.0 * of(4, {}));
  EXPECT_EQ(of(64, 64.0), of(64, {})) << "the batch's own count is the neutral one";
}

class Average : public ::testing::Test {
 protected:
  static FrequencyAverage average(double decay) {
    const Sites sites({{.name = "a", .matrix = 0, .d_in = 1, .d_out = 1, .C = C}}, 1);
    return FrequencyAverage({.decay = decay}, sites, {at::kCPU, at::kDouble, at::kDouble});
  }
  static at::Tensor batch(std::uint64_t t) { return uniform_values({C}, 20 + t, 0.0, 5.0); }
  const at::Tensor fine_ = at::zeros({}, at::kFloat);
};

TEST_F(Average, IsTheWeightedMeanOfWhatItSaw) {
  const double decay = 0.9;
  FrequencyAverage a = average(decay);
  for (std::uint64_t t = 0; t < 5; ++t) {
    at::Tensor expected = at::zeros({C}, at::kDouble);
    double weights = 0.0;
    for (std::uint64_t s = 0; s <= t; ++s) {
      const double weight = std::pow(decay, static_cast<double>(t - s));
      expected = expected + weight * batch(s);
      weights += weight;
    }
    expect_close(a.estimate(batch(t), N), expected / weights, {1e-13, 1e-13}, "estimate");
    a.keep(fine_);
  }
}

TEST_F(Average, OfOneBatchIsThatBatch) {
  for (const double decay : {0.0, 0.5, 0.999999}) {
    FrequencyAverage a = average(decay);
    expect_close(a.estimate(batch(0), N), batch(0), {1e-9, 1e-12}, "first");
  }
  FrequencyAverage forgetful = average(0.0);
  forgetful.estimate(batch(0), N);
  forgetful.keep(fine_);
  expect_close(forgetful.estimate(batch(1), N), batch(1), {1e-13, 1e-13}, "a decay of 0 keeps nothing");
}

TEST_F(Average, ChangesNothingUntilItIsKeptAndNothingWhereTheStepWasBroken) {
  FrequencyAverage a = average(0.9);
  a.estimate(batch(0), N);
  EXPECT_EQ(a.mean().abs().sum().item<double>(), 0.0);
  a.keep(fine_);
  const at::Tensor kept = a.mean().clone();
  a.estimate(batch(1) * std::numeric_limits<double>::quiet_NaN(), N);
  a.keep(at::ones({}, at::kFloat));
  expect_identical(a.mean(), kept, "mean");
}

TEST_F(Average, ItsGradientTakesTheHistoryAsConstantAndTheBatchAtFullWeight) {
  FrequencyMinimalityTerm frequency;
  frequency.reference_count = 50.0;
  const MinimalitySum sum = minimality_sums(objective_with(PowerPenaltyConfig{}, frequency), 0, 1)[0];
  FrequencyAverage a = average(0.99);
  for (std::uint64_t t = 0; t < 3; ++t) a.estimate(batch(t), N), a.keep(fine_);
  const at::Tensor estimate = a.estimate(batch(3), N);
  // The slope of Σ f log2(1 + R f) at the average, as if the batch's own mean were there.
  const PenaltyGradient gradient = minimality_gradient(sum, estimate, N);
  check_gradient(
      [&](const std::vector<at::Tensor>& x) {
        const at::Tensor f = x[0] / N;
        return (importance_coefficient * f + frequency_coefficient * f * (1.0 + 50.0 * f).log2()).sum();
      },
      {estimate}, {gradient.weight}, "sums");
}

}  // namespace
}  // namespace vpd::testing
