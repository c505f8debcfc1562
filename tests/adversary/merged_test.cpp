// Merged passes, which take some sites' sources from the adversary and draw the others.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_close.hpp"
#include "support/golden.hpp"
#include "vpd/passes/clean_pass.hpp"
#include "vpd/passes/sources.hpp"

namespace vpd::testing {
namespace {

struct Merged : ::testing::Test {
  static constexpr RandomKey key{7, 8};
  static constexpr std::int64_t B = 6, T = 5;
  struct Case;
};

struct Merged::Case {
  explicit Case(at::ScalarType type = at::kDouble)
      : golden("plain", type),
        d(golden.decomposition),
        clean(clean_pass(d, at::arange(B * T, at::kLong).remainder_(61).view({B, T}))),
        L(static_cast<std::int64_t>(d.sites.size())) {
    importance = at::full({B * T, d.sites.total_C()}, 0.25, golden.type);
    components = d.components.bind({});
    context = {.decomposition = &d, .clean = &clean, .importance = importance, .components = &components};
  }
  at::Tensor draw(MergedDraw how, double fraction) const {
    return draw_merged({.draw = how}, fraction, key, context);
  }
  at::Tensor loss(const SourceOf& sources) const { return reconstruct(context, sources, {}, 0.0); }

  GoldenCase golden;
  const Decomposition& d;
  CleanPass clean;
  std::int64_t L;
  at::Tensor importance;
  BoundSubcomponents components;
  PassContext context;
};

TEST_F(Merged, DrawsAreOfTheSizeAskedFor) {
  const Case c;
  for (const MergedDraw how : {MergedDraw::per_step, MergedDraw::per_row, MergedDraw::per_position}) {
    EXPECT_EQ(c.draw(how, 0.0).sum().item<std::int64_t>(), 0);
    EXPECT_EQ(c.draw(how, 1.0).sum().item<std::int64_t>(), c.L * B * T);
    EXPECT_TRUE(c.draw(how, 0.5).is_contiguous());
    CleanPass one_row = c.clean;
    one_row.input = c.clean.input.narrow(0, 0, 1);
    PassContext context = c.context;
    context.clean = &one_row;
    EXPECT_EQ(draw_merged({.draw = how}, 0.5, key, context).stride(1), 1);
  }
  const at::Tensor step = c.draw(MergedDraw::per_step, 0.5);
  EXPECT_TRUE(step.equal(step.narrow(1, 0, 1).expand({c.L, B * T})));
  const at::Tensor rows = c.draw(MergedDraw::per_row, 0.5).view({c.L, B, T});
  EXPECT_TRUE(rows.equal(rows.narrow(2, 0, 1).expand({c.L, B, T})));
  EXPECT_FALSE(rows.equal(rows.narrow(1, 0, 1).expand({c.L, B, T})));
  const at::Tensor positions = c.draw(MergedDraw::per_position, 0.5).view({c.L, B, T});
  EXPECT_FALSE(positions.equal(positions.narrow(2, 0, 1).expand({c.L, B, T})));
  // Five standard deviations of the mean of as many coins.
  const double coins = static_cast<double>(c.L * B * T);
  EXPECT_NEAR(positions.to(at::kDouble).mean().item<double>(), 0.5, 2.5 / std::sqrt(coins));
}

TEST_F(Merged, PartsOfTheBatchDrawWhatTheWholeDraws) {
  Case c;
  for (const MergedDraw how : {MergedDraw::per_step, MergedDraw::per_row, MergedDraw::per_position}) {
    c.context.clean = &c.clean, c.context.first_row = 0;
    const at::Tensor whole = c.draw(how, 0.5);
    CleanPass part = c.clean;
    part.input = c.clean.input.narrow(0, 2, 3);
    c.context.clean = &part, c.context.first_row = 2 * T;
    EXPECT_TRUE(c.draw(how, 0.5).equal(whole.narrow(1, 2 * T, 3 * T)));
  }
}

TEST_F(Merged, TheEndsAreTheTwoKindsOfMasks) {
  const Case c;
  const SourceLayout layout = make_layout(c.d.sites, B, T);
  const at::Tensor values = at::full({layout.rows(), layout.columns}, 0.125, at::kDouble);
  const SourceOf adversarial = read_sources(layout, values, T),
                 random = random_sources(c.context, SourceDistribution::uniform, key);
  const auto merged = [&](double fraction) {
    return c.loss(merged_sources(adversarial, c.draw(MergedDraw::per_position, fraction), key, c.context));
  };
  expect_identical(merged(1.0), c.loss(adversarial), "adversarial alone");
  expect_identical(merged(0.0), c.loss(random), "random alone");
  EXPECT_NE(merged(0.5).item<double>(), merged(0.0).item<double>());
  EXPECT_NE(merged(0.5).item<double>(), merged(1.0).item<double>());
}

TEST_F(Merged, EachSiteReadsTheSourcesThatItDrew) {
  const Case c;
  const SourceLayout layout = make_layout(c.d.sites, B, T);
  const at::Tensor values = at::full({layout.rows(), layout.columns}, 0.125, at::kDouble);
  const SourceOf adversarial = read_sources(layout, values, T),
                 random = random_sources(c.context, SourceDistribution::uniform, key);
  const at::Tensor choice = c.draw(MergedDraw::per_step, 0.5);
  const SourceOf by_site = [&](std::size_t i) {
    return choice[static_cast<std::int64_t>(i)][0].item<bool>() ? adversarial(i) : random(i);
  };
  expect_identical(c.loss(merged_sources(adversarial, choice, key, c.context)), c.loss(by_site), "loss");
}

TEST_F(Merged, InFloat32IsTheSame) {
  double losses[2];
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const Case c(type);
    const SourceLayout layout = make_layout(c.d.sites, B, T);
    const at::Tensor values = at::full({layout.rows(), layout.columns}, 0.125, type);
    const SourceOf adversarial = read_sources(layout, values, T);
    const at::Tensor choice = c.draw(MergedDraw::per_position, 0.5);
    losses[type == at::kDouble] = c.loss(merged_sources(adversarial, choice, key, c.context)).item<double>();
  }
  EXPECT_NEAR(losses[0], losses[1], 1000 * epsilon(at::kFloat) * losses[1]);
}

}  // namespace
}  // namespace vpd::testing
