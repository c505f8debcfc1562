#include "vpd/passes/repeated_rows.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/golden.hpp"
#include "support/places.hpp"

namespace vpd::testing {
namespace {

/// Passes of rows that were kept are those that rows have by themselves, and spread to all that are equal.
TEST(RepeatedRows, AreThePassesOfTheirRows) {
  for (const ComparedPositions compared : {ComparedPositions::all, ComparedPositions::last}) {
    std::vector<std::string> warnings;
    const RunConfig config = load_run_config(test_data() / "plain" / "config.yaml",
                                             {"sites=[{pattern: h.1.*, C: 5}]", "initialize_from=null"});
    const Decomposition d =
        make_decomposition(config, {at::kCPU, at::kDouble, at::kDouble}, "plain", warnings);
    const at::Tensor a = at::tensor({5, 8, 9}, at::kLong), b = at::tensor({1, 2, 3}, at::kLong);
    CleanPassCache cache;
    for (const at::Tensor& input : {at::stack({a, a, b, a}), at::stack({b, b, b, a}), at::stack({a, a})}) {
      const auto repeated = cache.look_up(d, input, /*keep_outputs=*/true, compared);
      ASSERT_TRUE(repeated);
      const CleanPass found = repeated->all(), expected = clean_pass(d, input, true, compared);
      EXPECT_TRUE(at::equal(found.input, expected.input));
      EXPECT_EQ(found.P(), expected.P());
      const auto same = [](const at::Tensor& x, const at::Tensor& y) {
        EXPECT_EQ(x.sizes(), y.sizes());
        EXPECT_LE(relative_error(x, y), 1e-13);
      };
      same(found.output, expected.output);
      same(found.start.residual, expected.start.residual);
      for (std::size_t i = 0; i < d.sites.size(); ++i) {
        same(found.inputs[i], expected.inputs[i]);
        same(found.outputs[i], expected.outputs[i]);
      }
    }
    EXPECT_FALSE(cache.look_up(d, at::stack({a, b, a}), true, compared)) << "nothing would be spared";
  }
}

}  // namespace
}  // namespace vpd::testing
