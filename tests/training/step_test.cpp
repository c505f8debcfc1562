// What must not change a step: micro-batches, lanes. What must: every kind of term, adversary and routing,
// which all run here.

#include "vpd/training/step.hpp"

#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/golden.hpp"
#include "trace.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/passes/reconstruction.hpp"

namespace vpd::testing {
namespace {

TEST(TrainingStep, LanesDoNotChangeIt) { expect_equal(train({}, 1, 3), train({}, 3, 3), 1e-9); }

TEST(TrainingStep, MicroBatchesDoNotChangeIt) {
  expect_equal(train({}, 1, 3), train({"training.micro_batch_size=1"}, 1, 3), 1e-9);
  expect_equal(train({}, 1, 3), train({"training.micro_batch_size=2"}, 2, 3), 1e-9);
}

TEST(TrainingStep, TopKIsOfTheWholeBatch) {
  const char* const all =
      "objective=[{type: topk_attribution_recon, coefficient: 1, k: 282}, {type: unmasked_recon, "
      "coefficient: 0}]";
  EXPECT_THROW(train({"objective=[{type: topk_attribution_recon, coefficient: 1, k: 300}]"}, 1, 1),
               ConfigError);
  // With every subcomponent kept only the measure of the error differs.
  const Trace everything = train({all}, 2, 1);
  EXPECT_GT(everything.losses[0][0], 0.0);
  GoldenCase golden("plain", at::kDouble, {all, "training.batch_size=4"});
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  const CleanPass clean = clean_pass(golden.decomposition, tokens.batch(0, 4));
  const BoundSubcomponents components = golden.decomposition.components.bind({});
  const PassContext context{.decomposition = &golden.decomposition,
                            .clean = &clean,
                            .importance = at::zeros({clean.N(), 282}, at::kDouble),
                            .components = &components};
  const auto expected = [&](const RoutingDraw& routing) {
    const double sum =
        reconstruct(context, constant_sources(1.0, 0.0), routing, 0.0, Comparison::squared_error)
            .item<double>();
    return sum / static_cast<double>(clean.N());
  };
  EXPECT_NEAR(everything.losses[0][0], expected({}), 1e-12);
  const Trace layers = train({"objective=[{type: topk_attribution_recon, coefficient: 1, k: 282, routing: "
                              "{type: layerwise}}, {type: unmasked_recon, coefficient: 0}]"},
                             2, 1);
  EXPECT_NEAR(layers.losses[0][0], expected({.layerwise = true}), 1e-12);
}

TEST(TrainingStep, NeitherLanesNorMicroBatchesChangeAverages) {
  const Trace one = train({averaged_frequency}, 1, 3);
  expect_equal(one, train({averaged_frequency}, 3, 3), 1e-9);
  expect_equal(one, train({averaged_frequency, "training.micro_batch_size=1"}, 1, 3), 1e-9);
  EXPECT_NE(one.losses[0][1], one.losses[1][1]);
}

TEST(TrainingStep, TheFirstAverageIsTheBatchItself) {
  const std::string plain =
      std::string(averaged_frequency)
          .replace(std::string(averaged_frequency).find(", moving_average: {decay: 0.8}"), 30, "");
  const Trace averaged = train({averaged_frequency}, 1, 2), own = train({plain}, 1, 2);
  EXPECT_NEAR(averaged.losses[0][1], own.losses[0][1], 1e-9 * own.losses[0][1]);
  EXPECT_NEAR(averaged.norms[1], own.norms[1], 1e-9 * own.norms[1]);
  EXPECT_GT(std::abs(averaged.losses[1][1] - own.losses[1][1]), 1e-3 * own.losses[1][1]);
}

TEST(TrainingStep, WithoutTheDeltaComponentTheDeltaMaskIsZero) {
  const Trace with = train({}, 1, 1), without = train({"delta_component=false"}, 1, 1);
  EXPECT_NE(with.losses[0][3], without.losses[0][3]);
  expect_equal(without, train({"delta_component=false"}, 2, 1), 1e-9);
}

class Bfloat16Step : public DeviceTest {};

TEST_P(Bfloat16Step, IsCloseToAFloat32One) {
  const std::vector<std::string> overrides = {every_term, "training.batch_size=4"};
  std::vector<std::vector<double>> losses;
  std::vector<std::string> names;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    GoldenCase golden("plain", at::kFloat, overrides);
    std::vector<std::string> warnings;
    Decomposition d = make_decomposition(golden.config, {device(), type, at::kFloat}, "plain", warnings);
    load_weights(d, golden.config.initialize_from.value());
    Lanes lanes(device().is_cpu() ? 2 : 1);
    const auto& data = std::get<TokensData>(golden.config.data.train);
    const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
    TrainingStep step(d, golden.config, data.sequence_length, lanes);
    const auto result = step.run(tokens.batch(0, 4), 0);
    names = result.labels;
    losses.emplace_back();
    for (const at::Tensor& loss : result.losses) losses.back().push_back(loss.item<double>());
  }
  for (std::size_t k = 0; k < losses[0].size(); ++k) {
    // A step along the sign of a gradient goes the other way where rounding turns the sign.
    const std::string& name = names[k];
    const bool turns = name.find("fresh") != std::string::npos;
    EXPECT_NEAR(losses[1][k], losses[0][k], (turns ? 0.05 : 0.01) * std::abs(losses[0][k])) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(TrainingStep, Bfloat16Step, ::testing::ValuesIn(device_cases({at::kBFloat16})),
                         device_case_name);

TEST(TrainingStep, ANanStopsBeforeTheUpdateAndNamesLossAndSite) {
  GoldenCase golden("plain", at::kFloat);
  Lanes lanes(1);
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  TrainingStep step(golden.decomposition, golden.config, data.sequence_length, lanes);
  const at::Tensor ci = golden.decomposition.ci_parameters.flat().clone();
  golden.decomposition.components.value(3).view({-1})[0] =
      std::numeric_limits<float>::quiet_NaN();  // U of the second site
  try {
    step.run(tokens.batch(0, 3), 7);
    FAIL() << "expected a NumericalError";
  } catch (const NumericalError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("step 7: the loss faithfulness"), std::string::npos) << message;
    EXPECT_NE(message.find(golden.decomposition.sites[1].name), std::string::npos) << message;
  }
  EXPECT_TRUE(at::equal(ci, golden.decomposition.ci_parameters.flat()));
}

TEST(TrainingStep, NumbersReadLateAreTheStepsOwn) {
  // Schedules that move, so that a number of an earlier step would show.
  std::vector<std::string> moving = {
      "training.steps=10", "training.learning_rate={start: 0.01, schedule: cosine, final_fraction: 0.1}", ""};
  std::vector<std::string> late = moving;
  for (const auto& [objective, lanes] :
       {std::pair(every_term, 1), std::pair(every_term, 2), std::pair(averaged_frequency, 2)}) {
    moving.back() = late.back() = objective;
    late.push_back("training.cuda_graph=true");
    const Trace now = train(moving, lanes, 4), later = train(late, lanes, 4);
    late.pop_back();
    EXPECT_EQ(now.losses, later.losses);
    EXPECT_EQ(now.norms, later.norms);
    EXPECT_TRUE(now.components.equal(later.components));
    EXPECT_TRUE(now.ci.equal(later.ci));
  }
}

TEST(TrainingStepOnCuda, EveryTermIsThatOfTheCpu) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  expect_equal(train({}, 1, 3), train({}, 1, 3, at::kDouble, at::kCUDA), 1e-9);
  expect_equal(train({averaged_frequency}, 1, 3), train({averaged_frequency}, 1, 3, at::kDouble, at::kCUDA),
               1e-9);
}

/// Six eager steps, and six of which the third is captured: two before it, three that replay it.
std::pair<Trace, Trace> eager_and_captured(const char* objective, const char* micro, at::ScalarType type) {
  // Rates that move, and that float32 holds exactly: a captured optimizer reads them in it, and sources
  // magnify a difference a thousandfold.
  const std::vector<std::string> eager = {
      objective, micro, "training.steps=9",
      "training.learning_rate={start: 0.0078125, schedule: linear, final_fraction: 0.5}"};
  std::vector<std::string> captured = eager;
  captured.emplace_back("training.cuda_graph=true");
  return {train(eager, 1, 6, type, at::kCUDA), train(captured, 1, 6, type, at::kCUDA)};
}

constexpr const char* micro_batches[] = {"training.micro_batch_size=null", "training.micro_batch_size=2"};

// What decides whether a captured step is right: in float64 attention is plain products, and nothing is added
// atomically.
TEST(TrainingStepOnCuda, ACapturedStepIsTheStep) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  for (const char* objective : {every_term, averaged_frequency}) {
    for (const char* micro : micro_batches) {
      SCOPED_TRACE(micro);
      const auto [eager, captured] = eager_and_captured(objective, micro, at::kDouble);
      expect_equal(eager, captured, 1e-9);
    }
  }
}

TEST(TrainingStepOnCuda, ACapturedStepInFloat32IsNearlyTheStep) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  for (const char* micro : micro_batches) {
    SCOPED_TRACE(micro);
    auto [eager, captured] = eager_and_captured(every_term, micro, at::kFloat);
    // Attention's backward pass adds atomically, so that two eager runs differ, too: parameters by as much,
    // and sources, whose steps are nearly of one length however small their gradients, by a thousand times
    // that.
    eager.state.clear(), captured.state.clear();
    expect_equal(eager, captured, 1e-4);
  }
}

}  // namespace
}  // namespace vpd::testing
