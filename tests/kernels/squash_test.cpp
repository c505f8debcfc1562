#include "vpd/kernels/squash.hpp"

#include <array>
#include <cmath>
#include <vector>

#include <ATen/ATen.h>

#include "errors.hpp"
#include "support/check_gradient.hpp"
#include "support/device_case.hpp"
#include "support/expect_close.hpp"

namespace vpd {
namespace {

using namespace vpd::testing;  // NOLINT

const std::vector<std::pair<std::int64_t, std::int64_t>> squash_shapes = {
    {1, 1}, {1, 7}, {3, 4}, {5, 13}, {65, 8}, {131, 67}, {2, 1030}};

at::Tensor upper_reference(const at::Tensor& z) {
  return at::where(z > 1.0, 1.0 + 0.01 * (z - 1.0), z.clamp(0.0, 1.0));
}
at::Tensor lower_backward_reference(const at::Tensor& d, const at::Tensor& z) {
  const at::Tensor zero = at::zeros_like(d);
  return at::where(z <= 0.0, at::where(d < 0.0, 0.01 * d, zero), at::where(z <= 1.0, d, zero));
}

class SquashTest : public DeviceTest {
 protected:
  /// Values on both sides of both kinks, and the kinks themselves.
  at::Tensor pre_activations(at::IntArrayRef sizes, std::uint64_t seed) const {
    at::Tensor z = uniform_values(sizes, seed, -1.0, 2.5);
    at::Tensor flat = z.view({-1});
    if (flat.numel() > 5) flat[1].fill_(0.0), flat[3].fill_(1.0), flat[4].fill_(-0.0);
    return real(z);
  }
};

TEST_P(SquashTest, BackwardIsTheRule) {
  for (const auto& [N, C] : squash_shapes) {
    SCOPED_TRACE(::testing::Message() << N << " x " << C);
    const at::Tensor z = pre_activations({N, C}, 1), d = real(uniform_values({N, C}, 2));
    expect_close(squash_backward(z, d, nullptr, 0), lower_backward_reference(exact(d), exact(z)).to(dtype()),
                 rounding(dtype(), 2, 1.0), "lower");
  }
}

TEST_P(SquashTest, BackwardPullsDeadValuesUpOnly) {
  const at::Tensor z = real(at::tensor({-1.0, -1.0, 0.0, 0.0, 0.5, 1.0, 1.5}, at::kDouble)).unsqueeze(0);
  const at::Tensor d = real(at::tensor({-2.0, 2.0, -2.0, 2.0, 2.0, 2.0, 2.0}, at::kDouble)).unsqueeze(0);
  expect_close(squash_backward(z, d, nullptr, 0),
               at::tensor({-0.02, 0.0, -0.02, 0.0, 2.0, 2.0, 0.0}, at::kDouble).unsqueeze(0).to(dtype()),
               rounding(dtype(), 1, 1.0), "dz");
}

TEST_P(SquashTest, SumsOfPowersAreTheFormula) {
  for (const auto& [N, C] : squash_shapes) {
    for (const double p : {2.0, 1.0, 0.4}) {
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(::testing::Message() << N << " x " << C << " p " << p << (strided ? " strided" : ""));
        const at::Tensor plain = pre_activations({N, C}, 3);
        const at::Tensor z = strided ? column_slice(plain) : plain;
        const double eps = 1e-6;
        const at::Tensor expected = (upper_reference(exact(z)) + eps).pow(p).sum(0);
        // x^p is exp(p log x) with |p log x| below 28, which the exponential turns into as many roundings.
        expect_close(penalty_sums(z, {.p = p, .eps = eps}), expected, {32 * epsilon(dtype()), 0.0}, "sums");
      }
    }
  }
}

TEST_P(SquashTest, SumsOfSmoothL0AreTheFormula) {
  for (const auto& [N, C] : squash_shapes) {
    for (const double gamma : {1.0, 0.1, 0.01}) {
      for (const bool strided : {false, true}) {
        SCOPED_TRACE(::testing::Message() << N << " x " << C << " gamma " << gamma);
        const at::Tensor plain = pre_activations({N, C}, 3);
        const at::Tensor z = strided ? column_slice(plain) : plain;
        const at::Tensor g2 = upper_reference(exact(z)).square();
        expect_close(penalty_sums(z, {.kind = PenaltyKind::smooth_l0, .gamma = gamma}),
                     (g2 / (g2 + gamma * gamma)).sum(0), {32 * epsilon(dtype()), 0.0}, "sums");
      }
    }
  }
}

TEST_P(SquashTest, BothPenaltiesInOnePass) {
  const double gamma = 0.2;
  for (const auto& [N, C] : squash_shapes) {
    SCOPED_TRACE(::testing::Message() << N << " x " << C);
    const at::Tensor z = pre_activations({N, C}, 5), lower = real(uniform_values({N, C}, 6));
    const at::Tensor first = uniform_values({C}, 7), second = uniform_values({C}, 8);
    const at::Tensor leaf = exact(z).clone().requires_grad_(true), g = upper_reference(leaf);
    ((g.square() / (g.square() + gamma * gamma)).sum(0) * first + (g + 1e-2).pow(0.5).sum(0) * second)
        .sum()
        .backward();
    const std::array<PenaltyGradient, 2> penalties = {
        PenaltyGradient{first.to(device()), {.kind = PenaltyKind::smooth_l0, .gamma = gamma}},
        PenaltyGradient{second.to(device()), {.p = 0.5, .eps = 1e-2}}};
    // The steepest slope of smooth-L0 is 0.65 / gamma.
    const at::Tensor expected = lower_backward_reference(exact(lower), exact(z)) + leaf.grad();
    expect_close(squash_backward(z, lower, penalties.data(), 2), expected.to(dtype()),
                 rounding(dtype(), 16, 0.65 / gamma + 5.0), "dz");
  }
}

TEST_P(SquashTest, CountsActiveImportancesInPassing) {
  for (const auto& [N, C] : squash_shapes) {
    SCOPED_TRACE(::testing::Message() << N << " x " << C);
    const at::Tensor z = pre_activations({N, C}, 5), lower = real(uniform_values({N, C}, 6));
    const at::Tensor active = at::full({}, 7, at::TensorOptions(device()).dtype(at::kLong));
    expect_identical(squash_backward(z, lower, nullptr, 0, active), squash_backward(z, lower, nullptr, 0),
                     "dz");
    EXPECT_EQ(active.item<std::int64_t>(), 7 + exact(z).gt(0).sum().item<std::int64_t>());
  }
  const at::Tensor z = pre_activations({2, 3}, 5);
  expect_usage_error([&] { squash_backward(z, z, nullptr, 0, at::zeros({}, at::kInt)); },
                     "expected one int64");
}

TEST_P(SquashTest, ManyRowsDoNotLosePrecision) {
  const std::int64_t N = 20011, C = 5;
  const at::Tensor z = real(uniform_values({N, C}, 4, 0.2, 0.9));
  const at::Tensor expected = (exact(z) + 1e-12).square().sum(0);
  expect_close(penalty_sums(z, {.p = 2.0, .eps = 1e-12}), expected, {32 * epsilon(dtype()), 0.0}, "sums");
}

TEST_P(SquashTest, OneBackwardPassDoesAll) {
  const double eps[2] = {1e-3, 1e-2}, p[2] = {0.7, 2.0};
  for (const auto& [N, C] : squash_shapes) {
    for (const int terms : {0, 1, 2}) {
      SCOPED_TRACE(::testing::Message() << N << " x " << C << ", " << terms << " terms");
      const at::Tensor z = pre_activations({N, C}, 5), lower = real(uniform_values({N, C}, 6));
      const at::Tensor leaf = exact(z).clone().requires_grad_(true);
      at::Tensor expected = lower_backward_reference(exact(lower), exact(z));
      std::array<PenaltyGradient, 2> powers;
      for (int k = 0; k < terms; ++k) {
        powers[static_cast<std::size_t>(k)] = {
            uniform_values({C}, 7 + static_cast<std::uint64_t>(k)).to(device()), {.p = p[k], .eps = eps[k]}};
        const at::Tensor sums = (upper_reference(leaf) + eps[k]).pow(p[k]).sum(0);
        (sums * exact(powers[static_cast<std::size_t>(k)].weight)).sum().backward();
      }
      if (terms > 0) expected = expected + leaf.grad();
      // The steepest slope is p eps^(p - 1), with a logarithm of 7 in the exponent.
      const double steepest = 0.7 * std::pow(1e-3, -0.3) + 3.0;
      expect_close(squash_backward(z, lower, powers.data(), terms), expected.to(dtype()),
                   rounding(dtype(), 16, steepest), "dz");
    }
  }
}

TEST_P(SquashTest, SaysWhatIsWrong) {
  const at::Tensor z = real(uniform_values({3, 4}, 1)), d = real(uniform_values({3, 4}, 2));
  expect_usage_error([&] { squash_backward(z, d.to(at::kMeta), nullptr, 0); }, "on one device");
  expect_usage_error([&] { penalty_sums(z, {.p = 2.0, .eps = 0.0}); }, "eps above 0, found 0");
  expect_usage_error([&] { penalty_sums(z, {.kind = PenaltyKind::smooth_l0, .gamma = 0.0}); },
                     "gamma above 0, found 0");
  expect_usage_error([&] { penalty_sums(z.t(), {.p = 2.0, .eps = 1e-6}); }, "penalty sums: z: expected");
  expect_usage_error([&] { squash_backward(z, d.t(), nullptr, 0); }, "contiguous z [N, C]");
  expect_usage_error([&] { squash_backward(z, d, nullptr, 3); }, "at most 2 penalties, found 3");
  const PenaltyGradient narrow{at::ones({3}, z.options().dtype(at::kDouble)), {.p = 1.0, .eps = 1e-6}};
  expect_usage_error([&] { squash_backward(z, d, &narrow, 1); }, "for each of 4 subcomponents, found 3");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, SquashTest, ::testing::ValuesIn(device_cases({at::kFloat, at::kDouble})),
                         device_case_name);

// bfloat16 pre-activations beside float32: what their values give in float32.
class NarrowSquashTest : public SquashTest {};

TEST_P(NarrowSquashTest, SumsAreTheFormula) {
  for (const auto& [N, C] : squash_shapes) {
    for (const bool strided : {false, true}) {
      SCOPED_TRACE(::testing::Message() << N << " x " << C << (strided ? " strided" : ""));
      const at::Tensor plain = pre_activations({N, C}, 3), z = strided ? column_slice(plain) : plain;
      const at::Tensor g = upper_reference(exact(z));
      const Tolerance tolerance{32 * epsilon(at::kFloat), 0.0};
      expect_close(penalty_sums(z, {.p = 0.4, .eps = 1e-6}), (g + 1e-6).pow(0.4).sum(0), tolerance, "power");
      expect_close(penalty_sums(z, {.kind = PenaltyKind::smooth_l0, .gamma = 0.1}),
                   (g.square() / (g.square() + 0.01)).sum(0), tolerance, "smooth L0");
    }
  }
}

TEST_P(NarrowSquashTest, BackwardIsRoundedOnce) {
  for (const auto& [N, C] : squash_shapes) {
    SCOPED_TRACE(::testing::Message() << N << " x " << C);
    const at::Tensor z = pre_activations({N, C}, 5), lower = broad(uniform_values({N, C}, 6));
    const std::array<PenaltyGradient, 2> penalties = {
        PenaltyGradient{uniform_values({C}, 7).to(device()), {.kind = PenaltyKind::smooth_l0, .gamma = 0.2}},
        PenaltyGradient{uniform_values({C}, 8).to(device()), {.p = 0.5, .eps = 1e-2}}};
    for (const int count : {0, 2}) {
      const at::Tensor wide = squash_backward(z.to(at::kFloat), lower, penalties.data(), count);
      expect_close(squash_backward(z, lower, penalties.data(), count), wide.to(dtype()),
                   {epsilon(dtype()), 1e-6}, "dz");
    }
  }
}

TEST_P(NarrowSquashTest, SaysWhatIsWrong) {
  const at::Tensor z = real(uniform_values({3, 4}, 1));
  expect_usage_error([&] { squash_backward(z, z, nullptr, 0); }, "contiguous z [N, C] and a Float gradient");
  expect_usage_error([&] { penalty_sums(z.to(at::kHalf), {.p = 1.0, .eps = 1.0}); },
                     "expected float32, float64 or bfloat16, found Half");
}

INSTANTIATE_TEST_SUITE_P(Everywhere, NarrowSquashTest, ::testing::ValuesIn(device_cases({at::kBFloat16})),
                         device_case_name);

TEST(SquashGradient, IsTheSlopeOfThePenaltySums) {
  // Away from the kinks at 0 and 1.
  const at::Tensor z = at::cat({uniform_values({3, 4}, 1, 0.1, 0.9), uniform_values({2, 4}, 2, 1.1, 2.0),
                                uniform_values({2, 4}, 3, -1.0, -0.1)});
  const at::Tensor weight = uniform_values({4}, 4);
  for (const Penalty& penalty :
       {Penalty{.p = 0.6, .eps = 1e-2}, Penalty{.kind = PenaltyKind::smooth_l0, .gamma = 0.3}}) {
    const PenaltyGradient term{weight, penalty};
    const at::Tensor dz = squash_backward(z, at::zeros_like(z), &term, 1);
    check_gradient(
        [&](const std::vector<at::Tensor>& x) { return (penalty_sums(x[0], penalty) * weight).sum(); }, {z},
        {dz}, "z");
  }
}

}  // namespace
}  // namespace vpd
