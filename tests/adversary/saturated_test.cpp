// Which part of an adversary's sources sits at 0 or 1.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/golden.hpp"
#include "vpd/adversary/persistent.hpp"

namespace vpd::testing {
namespace {

/// Part of `values`, each within 0.01 of 0 or 1, one by one.
double plainly(const at::Tensor& values) {
  const at::Tensor wide = values.to(at::kCPU, at::kDouble).contiguous().view({-1});
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < wide.numel(); ++i) {
    const double r = wide[i].item<double>();
    count += r <= 0.01 || r >= 0.99;
  }
  return static_cast<double>(count) / static_cast<double>(wide.numel());
}

class Saturated : public ::testing::TestWithParam<SourceParametrization> {};

TEST_P(Saturated, IsThePartNearTheBounds) {
  const GoldenCase golden("plain", at::kDouble);
  const Decomposition& d = golden.decomposition;
  const bool sigmoid = GetParam() == SourceParametrization::sigmoid;
  PersistentAdversaryConfig config{.parametrization = GetParam()};
  PersistentAdversary adversary(config, d.sites, 3, 17, d.numerics, 5, 0);
  const auto sources = [&] {
    std::vector<at::Tensor> parts;
    for (const auto& [name, values] : adversary.state(d.sites)) {
      if (name.starts_with("source/")) parts.push_back(values.reshape({-1}));
    }
    const at::Tensor all = at::cat(parts);
    return sigmoid ? all.sigmoid() : all;
  };
  const double begin = adversary.saturated().item<double>();
  EXPECT_DOUBLE_EQ(begin, plainly(sources()));
  EXPECT_LT(begin, 0.05);  // U(0,1), or a sigmoid of N(0,1)
  // Upwards for some, downwards for the others, and a few that stay.
  const at::Tensor direction = adversary.make_gradient();
  direction.view({-1}).copy_(at::arange(direction.numel(), direction.options()).remainder(7) - 3.0);
  for (std::int64_t count = 1; count <= 40; ++count) {
    adversary.ascend(direction, 0, adversary.layout().rows(), adversary.rule(0.2, count));
  }
  const double end = adversary.saturated().item<double>();
  EXPECT_DOUBLE_EQ(end, plainly(sources()));
  // Unbounded values come near the bounds more and more slowly.
  if (sigmoid) {
    EXPECT_GT(end, 2.0 * begin);
  } else {
    EXPECT_NEAR(end, 6.0 / 7.0, 0.03);
  }
}

TEST(SaturatedPool, IsAPartOfAllItsSources) {
  const GoldenCase golden("plain", at::kDouble);
  const Decomposition& d = golden.decomposition;
  const PersistentAdversaryConfig config{.scope = PersistentScope::pooled, .sources = 5};
  const PersistentAdversary adversary(config, d.sites, 3, 17, d.numerics, 5, 0);
  std::vector<at::Tensor> parts;
  for (const auto& [name, values] : adversary.state(d.sites)) {
    if (name.starts_with("source/")) parts.push_back(values.reshape({-1}));
  }
  EXPECT_DOUBLE_EQ(adversary.saturated().item<double>(), plainly(at::cat(parts)));
}

INSTANTIATE_TEST_SUITE_P(Parametrizations, Saturated,
                         ::testing::Values(SourceParametrization::clamped, SourceParametrization::sigmoid));

}  // namespace
}  // namespace vpd::testing
