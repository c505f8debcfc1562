// Masked passes begin at the first block that has a site, and give the same bits as from the input.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/expect_close.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd::testing {
namespace {

const std::vector<std::string> in_the_last_block = {"initialize_from=null",
                                                    "sites=[{pattern: \"h.1.mlp.down_proj\", C: 7}]"};

class MaskedStart : public ::testing::TestWithParam<Comparison> {};

TEST_P(MaskedStart, IsTheFirstBlockThatHasASite) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const RunConfig config = load_run_config(test_data() / "plain" / "config.yaml", in_the_last_block);
    std::vector<std::string> warnings;
    const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
    const Decomposition d = make_decomposition(config, {at::kCPU, type, wide}, "plain", warnings);
    ASSERT_EQ(d.first_block(), 1u);
    const at::Tensor tokens = at::arange(2 * 5, at::kLong).mul_(7).remainder_(61).view({2, 5});
    CleanPass clean = clean_pass(d, tokens, /*keep_outputs=*/true);
    ASSERT_TRUE(clean.start.residual.defined());
    at::Tensor gradients[2], importance_gradients[2], losses[2], scores[2];
    const at::Tensor importance = uniform_values({clean.N(), d.sites.total_C()}, 3).abs().to(wide);
    for (int k : {0, 1}) {
      if (k == 1) clean.start = {};  // from the input
      gradients[k] = d.components.make_gradient();
      importance_gradients[k] = at::zeros_like(importance);
      const BoundSubcomponents components = d.components.bind(gradients[k]);
      const PassContext context{.decomposition = &d,
                                .clean = &clean,
                                .importance = importance,
                                .importance_gradient = importance_gradients[k],
                                .components = &components};
      losses[k] = reconstruct(context, random_sources(context, SourceDistribution::uniform, RandomKey{1, 2}),
                              {}, 0.5, GetParam());
      scores[k] = at::zeros({clean.N(), d.sites.total_C()}, wide);
      attribute_squared_norm(d, clean, components, scores[k]);
    }
    expect_identical(losses[0], losses[1], "loss");
    expect_identical(gradients[0], gradients[1], "gradient of U and V");
    expect_identical(importance_gradients[0], importance_gradients[1], "gradient of importances");
    expect_identical(scores[0], scores[1], "attributions");
    EXPECT_GT(gradients[0].abs().max().item<double>(), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Comparisons, MaskedStart,
                         ::testing::Values(Comparison::output, Comparison::squared_error,
                                           Comparison::hidden_acts));

}  // namespace
}  // namespace vpd::testing
