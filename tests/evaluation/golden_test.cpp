// Evaluation metrics against the reference numbers of tests/data.

#include "support/golden.hpp"

#include <map>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "vpd/base/error.hpp"
#include "vpd/evaluation/evaluate.hpp"
#include "vpd/io/tokens.hpp"

namespace vpd::testing {
namespace {

std::map<std::string, double> measure(const GoldenCase& golden, int lane_count, bool slow = true) {
  Lanes lanes(lane_count);
  const auto& data = std::get<TokensData>(golden.config.data.eval);
  TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  const MetricValues values =
      evaluate(golden.decomposition, golden.config, tokens, 0, slow ? MetricChoice() : is_fast, lanes);
  return {values.begin(), values.end()};
}

class GoldenEvaluation : public ::testing::TestWithParam<const char*> {};

void expect_every_metric(const GoldenCase& golden, int lanes) {
  const std::map<std::string, double> values = measure(golden, lanes);
  for (const auto& [name, expected] : golden.expected.at("evaluation").items()) {
    ASSERT_TRUE(values.contains(name)) << name;
    const double tolerance = golden.type == at::kDouble ? 1e-6 : (name == "pgd/zeros" ? 1e-3 : 1e-5);
    EXPECT_LE(std::abs(values.at(name) - expected.get<double>()),
              tolerance * std::abs(expected.get<double>()))
        << name << " in " << at::toString(golden.type) << ", " << lanes << " lanes";
  }
}

TEST_P(GoldenEvaluation, EveryMetric) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const int lanes : {1, 2, 4})  // four lanes are more than the batch has rows
      expect_every_metric(GoldenCase(GetParam(), type), lanes);
  }
}

TEST_P(GoldenEvaluation, EveryMetricOnCuda) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  for (const at::ScalarType type : {at::kFloat, at::kDouble})
    expect_every_metric(GoldenCase(GetParam(), type, {}, at::kCUDA), 1);
}

TEST_P(GoldenEvaluation, HiddenActsWithImportancesAsMasks) {
  const GoldenCase golden(GetParam(), at::kDouble, {"evaluation.metrics=[{type: hidden_acts}]"});
  EXPECT_LE(relative_error(measure(golden, 2).at("hidden_acts/ci_masked"),
                           golden.number("losses", "hidden_acts_recon")),
            1e-6);
}

TEST_P(GoldenEvaluation, DeterministicLosses) {
  const GoldenCase golden(GetParam(), at::kDouble, {"evaluation.metrics=[{type: losses}]"});
  const std::map<std::string, double> values = measure(golden, 2);
  EXPECT_LE(relative_error(values.at("loss/faithfulness"), golden.number("losses", "faithfulness")), 1e-6);
  EXPECT_LE(relative_error(values.at("loss/ci_masked_recon"), golden.number("losses", "ci_masked_recon")),
            1e-6);
  // at step 0 p has its first value, as in the first step of training
  const nlohmann::json& first = golden.expected.at("training").at(0);
  EXPECT_LE(relative_error(values.at("loss/importance_minimality"), first.at("importance").get<double>()),
            1e-6);
  EXPECT_LE(relative_error(values.at("loss/frequency_minimality"), first.at("frequency").get<double>()),
            1e-6);
}

// From sources of 0, where masks are the importances, to what the attack of `pgd` with that budget reaches.
TEST_P(GoldenEvaluation, AnAdversarysLossIsThatOfTheAttack) {
  const GoldenCase golden(
      GetParam(), at::kDouble,
      {"objective.adversarial_recon.adversary={type: fresh, init: zeros, steps: 20, step_size: 0.1}",
       "objective.adversarial_recon.routing={type: all}",
       "evaluation.metrics=[{type: losses}, {type: pgd, name: same, init: zeros, steps: 20, step_size: "
       "0.1}]"});
  const std::map<std::string, double> values = measure(golden, 2);
  EXPECT_EQ(values.at("loss/adversarial_recon"), values.at("pgd/same"));
  EXPECT_GT(values.at("loss/adversarial_recon"), 1.1 * values.at("loss/ci_masked_recon"));
}

TEST_P(GoldenEvaluation, SlowMetricsAreLeftOutUnlessAskedFor) {
  const GoldenCase golden(GetParam(), at::kFloat,
                          {"evaluation.metrics=[{type: ci_l0}, {type: pgd, name: p, steps: 1, slow: true}]"});
  EXPECT_FALSE(measure(golden, 1, /*slow=*/false).contains("pgd/p"));
  EXPECT_TRUE(measure(golden, 1, /*slow=*/true).contains("pgd/p"));
}

TEST_P(GoldenEvaluation, GroupsAndAliveCountSubcomponents) {
  const GoldenCase golden(
      GetParam(), at::kDouble,
      {"evaluation.metrics=[{type: ci_l0, groups: {mlp: [\"h.*.mlp.*\"]}}, {type: alive}]"});
  const std::map<std::string, double> values = measure(golden, 2);
  double mlp = 0.0, alive = 0.0;
  for (const Site& site : golden.decomposition.sites) {
    if (site.name.find(".mlp.") != std::string::npos) mlp += golden.number("evaluation", "l0/" + site.name);
    const at::Tensor mean = golden.value("lower/" + site.name).flatten(0, 1).mean(0);
    EXPECT_EQ(values.at("alive/" + site.name), mean.gt(1e-6).sum().item<double>()) << site.name;
    alive += values.at("alive/" + site.name);
  }
  EXPECT_NEAR(values.at("l0/mlp"), mlp, 1e-9);
  EXPECT_EQ(values.at("alive/total"), alive);
}

TEST_P(GoldenEvaluation, AGroupCannotTakeASitesName) {
  const GoldenCase golden(GetParam(), at::kDouble,
                          {"evaluation.metrics=[{type: ci_l0, groups: {h.0.mlp.c_fc: [\"h.*.mlp.*\"]}}]"});
  try {
    check_metrics(golden.decomposition, golden.config, "config.yaml");
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("evaluation.metrics[0].groups.h.0.mlp.c_fc: expected a group name that no site has"),
              std::string::npos)
        << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenEvaluation, ::testing::Values("plain", "grouped"));

}  // namespace
}  // namespace vpd::testing
