// The spread of noisy figures over batches, against figures of single batches; and attacks on several batches
// at once, against one attack on as many rows.

#include <cmath>

#include <gtest/gtest.h>

#include "support.hpp"

namespace vpd::testing {
namespace {

const std::string noisy =
    "{type: ce_kl}, {type: hidden_acts}, {type: losses}, {type: pgd, name: p, steps: 3, step_size: 0.1}";

/// The figure of each of the first three batches, from the means over one, two and three.
std::vector<double> of_batches(const std::vector<Evaluated>& means, const std::string& name) {
  return {means[0].at(name), 2.0 * means[1].at(name) - means[0].at(name),
          3.0 * means[2].at(name) - 2.0 * means[1].at(name)};
}

TEST(Windows, SpreadIsTheStandardDeviationOfTheBatchesFigures) {
  const std::string terms =
      "objective=[{type: faithfulness, coefficient: 1}, {type: stochastic_recon, coefficient: 1}, {type: "
      "adversarial_recon, coefficient: 1, adversary: {type: fresh, steps: 2}}, {type: ci_masked_recon, "
      "coefficient: 0}]";
  std::vector<Evaluated> means;
  for (const std::int64_t batches : {1, 2, 3}) {
    std::vector<std::string> overrides = on_training_rows(4, batches, noisy);
    overrides.push_back(terms);
    means.push_back(evaluate_golden(GoldenCase("plain", at::kDouble, overrides)));
  }
  for (const char* name :
       {"ce_kl/kl_stochastic", "ce_kl/ce_stochastic", "ce_kl/kl_random", "ce_kl/ce_random",
        "hidden_acts/stochastic", "loss/stochastic_recon", "loss/adversarial_recon", "pgd/p"}) {
    SCOPED_TRACE(name);
    const std::vector<double> x = of_batches(means, name);
    const double mean = (x[0] + x[1] + x[2]) / 3.0;
    double squares = 0.0;
    for (const double value : x) squares += (value - mean) * (value - mean);
    EXPECT_NEAR(means[2].at(std::string(name) + "/std"), std::sqrt(squares / 2.0), 1e-9 * mean);
    EXPECT_GT(squares, 0.0);
    EXPECT_NEAR(means[1].at(std::string(name) + "/std"), std::abs(x[0] - x[1]) / std::sqrt(2.0), 1e-9 * mean);
    EXPECT_FALSE(means[0].values.contains(std::string(name) + "/std")) << "of one batch there is none";
    for (std::size_t k = 0; k < 3; ++k)
      EXPECT_EQ(means[k].at(std::string(name) + "/batches"), static_cast<double>(k + 1));
  }
  // What draws nothing has no window.
  for (const char* name : {"ce_kl/kl_ci_masked", "ce_kl/kl_zero", "hidden_acts/ci_masked",
                           "loss/faithfulness", "loss/ci_masked_recon"})
    EXPECT_FALSE(means[2].values.contains(std::string(name) + "/batches")) << name;
}

std::string pgd(std::int64_t width, const std::string& more = "") {
  return fmt::format("{{type: pgd, name: p, steps: 5, step_size: 0.1, batches: {}{}}}", width, more);
}

double attacked(std::int64_t rows, std::int64_t batches, const std::string& metric, int lanes = 2) {
  return evaluate_golden(GoldenCase("plain", at::kDouble, on_training_rows(rows, batches, metric)), lanes)
      .at("pgd/p");
}

TEST(WidePgd, IsOneAttackOnAllRows) {
  for (const std::string start : {"random", "zeros"}) {
    const std::string more = ", init: " + start;
    const double whole = attacked(6, 1, pgd(1, more));
    for (const int lanes : {1, 2}) {
      EXPECT_NEAR(attacked(3, 2, pgd(2, more), lanes), whole, 1e-9 * whole) << start;
      EXPECT_NEAR(attacked(2, 3, pgd(3, more), lanes), whole, 1e-9 * whole) << start;
    }
    // Apart, the batches are beaten harder than together.
    EXPECT_GT(attacked(3, 2, pgd(1, more)), whole) << start;
  }
}

TEST(WidePgd, TheLastAttackTakesWhatIsLeft) {
  // Rows 0 to 5 together, and 6 to 8 alone, whose figure follows from those of single attacks.
  const double together = attacked(6, 1, pgd(1)),
               alone = 3.0 * attacked(3, 3, pgd(1)) - 2.0 * attacked(3, 2, pgd(1));
  const Evaluated found = evaluate_golden(GoldenCase("plain", at::kDouble, on_training_rows(3, 3, pgd(2))));
  EXPECT_NEAR(found.at("pgd/p"), (2.0 * together + alone) / 3.0, 1e-9 * together);
  EXPECT_EQ(found.at("pgd/p/batches"), 2.0);
  EXPECT_NEAR(found.at("pgd/p/std"), std::abs(together - alone) / std::sqrt(2.0), 1e-9 * together);
  // The data end before the second batch is full: it has two rows.
  const GoldenCase uneven("plain", at::kDouble, on_training_rows(28, 2, pgd(2)));
  const double whole = attacked(30, 1, pgd(1));
  EXPECT_NEAR(evaluate_golden(uneven).at("pgd/p"), whole, 1e-9 * whole);
}

}  // namespace
}  // namespace vpd::testing
