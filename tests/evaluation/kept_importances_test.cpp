// Metrics of what attributions keep, in place of the causal-importance function's values.

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support.hpp"
#include "support/places.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/synthetic.hpp"
#include "vpd/passes/attribution.hpp"
#include "vpd/passes/reconstruction.hpp"
#include "vpd/target/tms.hpp"

namespace vpd::testing {
namespace {

namespace fs = std::filesystem;

constexpr double k = 11.5;

std::vector<std::string> kept_overrides(const std::string& metrics) {
  std::vector<std::string> overrides = on_training_rows(6, 2, metrics);
  overrides.emplace_back("objective=[{type: topk_attribution_recon, coefficient: 1.0, k: 11.5}]");
  overrides.emplace_back("evaluation.importances=topk_attribution");
  return overrides;
}

TEST(KeptImportances, AreWhatEveryMetricMeasures) {
  const GoldenCase golden("plain", at::kDouble,
                          kept_overrides("{type: ce_kl, rounding_thresholds: [0.5]}, {type: ci_l0}, "
                                         "{type: pgd, name: attack, steps: 2}"));
  const Evaluated found = evaluate_golden(golden);
  const Decomposition& d = golden.decomposition;
  const auto& data = std::get<TokensData>(golden.config.data.eval);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  const BoundSubcomponents components = d.components.bind({});
  double kl = 0.0, kept_of_all = 0.0, positions = 0.0;
  for (std::int64_t batch = 0; batch < 2; ++batch) {
    const CleanPass clean = clean_pass(d, tokens.batch(6 * batch, 6));
    const at::Tensor kept = at::zeros({clean.N(), d.sites.total_C()}, at::kDouble);
    attribute_squared_norm(d, clean, components, kept);
    keep_largest(kept, kept_count(k, clean.N(), d.sites));
    const PassContext context{
        .decomposition = &d, .clean = &clean, .importance = kept, .components = &components};
    kl += reconstruct(context, constant_sources(0.0, 0.0), {}, 0.0).item<double>();
    kept_of_all += kept.sum().item<double>();
    positions += static_cast<double>(clean.N());
  }
  EXPECT_NEAR(found.at("l0/total"), kept_of_all / positions, 1e-12);
  EXPECT_NEAR(found.at("l0/total"), k, 1.0 / 6.0);
  EXPECT_NEAR(found.at("ce_kl/kl_ci_masked"), kl / positions, 1e-12);
  EXPECT_EQ(found.at("ce_kl/kl_rounded_0.5"), found.at("ce_kl/kl_ci_masked"));
  // An attack of what is not kept does more harm than leaving all of it as it is, which does none.
  EXPECT_GT(found.at("pgd/attack"), found.at("ce_kl/kl_unmasked"));
}

TEST(KeptImportances, LanesDoNotChangeThem) {
  const GoldenCase golden("plain", at::kDouble,
                          kept_overrides("{type: ce_kl}, {type: hidden_acts}, {type: losses}"));
  const Evaluated one = evaluate_golden(golden, 1), three = evaluate_golden(golden, 3);
  for (const auto& [name, value] : one.values)
    EXPECT_NEAR(three.at(name), value, 1e-9 * std::abs(value)) << name;
}

/// W1 = W2 = 1 of three features, taken apart into one subcomponent each and a fourth of zeros.
TEST(KeptImportances, AreThoseOfProbesToo) {
  const auto error = [](const char* importances) {
    const RunConfig config =
        load_run_config(source_dir() / "configs" / "toys" / "tms_5-2.yaml",
                        {"sites=[{pattern: \"linear*\", C: 4}]", "evaluation.batch_size=4",
                         "objective=[{type: topk_attribution_recon, coefficient: 1.0, k: 2}]",
                         "evaluation.metrics=[{type: identity_ci_error, sites: [\"linear*\"]}]",
                         std::string("evaluation.importances=") + importances},
                        config::Files::may_be_missing);
    const TmsConfig model{.n_features = 3, .n_hidden = 3};
    const NamedTensors weights = {
        {"linear1.weight", at::eye(3)}, {"linear2.weight", at::eye(3)}, {"linear2.bias", at::zeros({3})}};
    const Decomposition d =
        make_decomposition(config, {}, "config.yaml", std::make_unique<Tms>(model, weights, Numerics{}));
    for (std::size_t i = 0; i < d.components.size(); ++i)
      at::Tensor(d.components.value(i)).copy_(i % 2 == 0 ? at::eye(3, 4) : at::eye(4, 3));
    const SparseFeatures data(std::get<SparseFeaturesData>(config.data.eval), 3, 0, DataRole::eval);
    Lanes lanes(1);
    for (const auto& [name, value] : evaluate(d, config, data, 0, {}, lanes)) {
      if (name == "identity_ci_error/total") return value;
    }
    return -1.0;
  };
  EXPECT_EQ(error("topk_attribution"), 0.0);
  EXPECT_GT(error("causal_importance"), 0.0) << "of a function that nobody trained";
}

TEST(KeptImportances, NeedTheTermThatKeeps) {
  try {
    GoldenCase("plain", at::kFloat, {"evaluation.importances=topk_attribution"});
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_NE(
        std::string(error.what()).find("evaluation.importances: expected causal_importance without a term"),
        std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace vpd::testing
