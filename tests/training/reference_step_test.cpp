// The fast step against the method written out in plain tensor expressions (training/reference_step.hpp).

#include "training/reference_step.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/golden.hpp"
#include "trace.hpp"

namespace vpd::testing {
namespace {

/// The terms that the reference knows.
ObjectiveConfig known_terms(const ObjectiveConfig& objective) {
  ObjectiveConfig known;
  const ObjectivePlan plan = plan_of(objective);
  for (std::size_t k = 0; k < objective.size(); ++k) {
    const auto* masks = plan[k].masks<AdversarialMasks>();
    const auto* persistent = masks ? std::get_if<PersistentAdversaryConfig>(&masks->adversary) : nullptr;
    const bool pooled = persistent && persistent->scope == PersistentScope::pooled;
    if (!pooled && !(masks && masks->merged)) known.push_back(objective[k]);
  }
  return known;
}

void compare(const char* objective, const std::vector<std::string>& more = {}) {
  constexpr int steps = 3;
  // Clipping divides by a number in float32.
  constexpr double tolerance = 2e-6;
  std::vector<std::string> all = {objective, "training.batch_size=4"};
  all.insert(all.end(), more.begin(), more.end());
  GoldenCase fast("plain", at::kDouble, all), plain("plain", at::kDouble, all);
  RunConfig config = fast.config;
  config.objective = known_terms(config.objective);
  EXPECT_GE(config.objective.size(), 3u);
  const auto& data = std::get<TokensData>(config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, config.seed);
  Lanes lanes(2);
  TrainingStep step(fast.decomposition, config, data.sequence_length, lanes);
  ReferenceStep reference(plain.decomposition, config, data.sequence_length);
  for (int s = 0; s < steps; ++s) {
    const at::Tensor batch = tokens.batch(4 * s, 4);
    const StepResult found = step.run(batch, s);
    const std::vector<double> expected = reference.run(batch, s);
    ASSERT_EQ(found.losses.size(), expected.size());
    for (std::size_t k = 0; k < expected.size(); ++k) {
      EXPECT_NEAR(found.losses[k].item<double>(), expected[k], tolerance * std::abs(expected[k]))
          << found.labels[k] << " in step " << s;
    }
  }
  EXPECT_LE(relative_error(fast.decomposition.components.flat(), plain.decomposition.components.flat()),
            tolerance);
  EXPECT_LE(relative_error(fast.decomposition.ci_parameters.flat(), plain.decomposition.ci_parameters.flat()),
            tolerance);
}

TEST(ReferenceStep, IsWhatTheFastStepComputes) { compare(every_term); }
TEST(ReferenceStep, WithAveragedFrequency) { compare(averaged_frequency); }
TEST(ReferenceStep, WithoutADeltaComponent) { compare(every_term, {"delta_component=false"}); }

}  // namespace
}  // namespace vpd::testing
