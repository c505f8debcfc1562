#include "vpd/ops/parameter_set.hpp"

#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "vpd/base/error.hpp"
#include "vpd/decomposition/subcomponents.hpp"

namespace vpd {
namespace {

TEST(ParameterSet, PartsLieApartInOneBufferAndBindToGradients) {
  const ParameterSet set({{"a", {3, 5}}, {"b", {7}}}, {});
  EXPECT_EQ(set.count(), 22);
  set.value(0).fill_(1.0);
  set.value(1).fill_(2.0);
  EXPECT_EQ(set.flat().sum().item<double>(), 15.0 + 14.0);
  const at::Tensor gradient = set.make_gradient();
  const std::vector<Parameter> bound = set.bind(gradient);
  at::Tensor(bound[1].gradient).fill_(3.0);
  EXPECT_EQ(set.view(gradient, 1).sum().item<double>(), 21.0);
  EXPECT_EQ(set.view(gradient, 0).abs().sum().item<double>(), 0.0);
  EXPECT_FALSE(set.bind({})[0].gradient.defined());
}

TEST(ParameterSet, NarrowCopiesFollowTheMastersOnRefresh) {
  const ParameterSet set({{"a", {2, 2}}}, {at::kCPU, at::kBFloat16, at::kFloat});
  set.value(0).fill_(1.0 + 1.0 / 512.0);
  EXPECT_EQ(set.bind({})[0].value.sum().item<double>(), 0.0);
  set.refresh();
  EXPECT_EQ(set.bind({})[0].value.scalar_type(), at::kBFloat16);
  EXPECT_NEAR(set.bind({})[0].value.to(at::kFloat).sum().item<double>(), 4.0, 0.02);
  EXPECT_EQ(set.value(0).sum().item<double>(), 4.0 * (1.0 + 1.0 / 512.0));
}

TEST(Subcomponents, InitialValuesHaveTheVariancesOfTheMethodAndDependOnTheSeedAlone) {
  const Sites sites({{.name = "s", .matrix = 0, .d_in = 100, .d_out = 60, .C = 400}}, 1);
  Subcomponents first(sites, {}), again(sites, {}), other(sites, {});
  first.initialise(sites, 3);
  again.initialise(sites, 3);
  other.initialise(sites, 4);
  EXPECT_TRUE(at::equal(first.flat(), again.flat()));
  EXPECT_FALSE(at::equal(first.flat(), other.flat()));
  // the variance of n draws is off by about sqrt(2 / n); five times that
  EXPECT_NEAR(first.value(0).var().item<double>() * 100.0, 1.0, 5.0 * std::sqrt(2.0 / 40000.0));
  EXPECT_NEAR(first.value(1).var().item<double>() * 400.0, 1.0, 5.0 * std::sqrt(2.0 / 24000.0));
}

}  // namespace
}  // namespace vpd
