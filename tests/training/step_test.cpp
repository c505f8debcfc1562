// What must not change a step: micro-batches, lanes. What must: every kind of term, adversary and routing,
// which all run here.

#include "vpd/training/step.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/device_case.hpp"
#include "support/golden.hpp"
#include "vpd/base/error.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/objective/reconstruction.hpp"

namespace vpd::testing {
namespace {

const char* const every_term =
    "objective=[{type: faithfulness, coefficient: 100.0}, {type: importance_minimality, coefficient: 0.002, "
    "p: {start: 2.0, end: 0.4}},"
    "{type: frequency_minimality, coefficient: 0.001},"
    "{type: stochastic_recon, coefficient: 0.5, samples: 2, routing: {type: uniform_k_subset}},"
    "{type: stochastic_recon, name: binomial, coefficient: 0.25, sources: binomial, routing: {type: "
    "static_probability, probability: 0.5}},"
    "{type: stochastic_recon, name: layers, coefficient: 0.25, routing: {type: layerwise}},"
    "{type: adversarial_recon, coefficient: 0.5, routing: {type: uniform_k_subset}, adversary: {type: "
    "persistent, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: layers_attacked, coefficient: 0.5, routing: {type: layerwise}, "
    "adversary: {type: persistent, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: shared, coefficient: 0.5, adversary: {type: persistent, scope: "
    "shared_across_batch, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: everywhere, coefficient: 0.5, adversary: {type: persistent, scope: "
    "shared_across_batch,"
    " shared_across_positions: true, optimizer: {type: sign}, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: two, coefficient: 0.5, adversary: {type: persistent, scope: n_sources, "
    "sources: 2, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: pool, coefficient: 0.5, routing: {type: uniform_k_subset}, adversary: "
    "{type: persistent, scope: pooled, sources: 3, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: sigmoid_pool, coefficient: 0.5, adversary: {type: persistent, scope: "
    "pooled, sources: 2, parametrization: sigmoid, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: merged, coefficient: 0.5, routing: {type: uniform_k_subset}, merged: "
    "{adversarial_fraction: 0.4, draw: per_position}, adversary: {type: persistent, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: merged_rows, coefficient: 0.5, merged: {draw: per_row}, adversary: "
    "{type: "
    "persistent, scope: shared_across_batch, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: merged_pool, coefficient: 0.5, merged: {adversarial_fraction: {start: "
    "0.9, "
    "schedule: linear, final_fraction: 0.5}}, adversary: {type: persistent, scope: pooled, sources: 2, "
    "learning_rate: 0.05}},"
    "{type: adversarial_recon, name: merged_fresh, coefficient: 0.5, merged: {}, adversary: {type: fresh, "
    "steps: 2}},"
    "{type: adversarial_recon, name: sigmoid, coefficient: 0.5, adversary: {type: persistent, "
    "parametrization: sigmoid, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: watched, coefficient: 0.0, adversary: {type: persistent, learning_rate: "
    "0.05}},"
    "{type: adversarial_recon, name: fresh, coefficient: 0.5, adversary: {type: fresh, steps: 3, scope: "
    "per_datapoint}},"
    "{type: ci_masked_recon, coefficient: 0.1}, {type: unmasked_recon, coefficient: 0.1},"
    "{type: topk_attribution_recon, coefficient: 0.3, k: 11.3}, {type: schatten, coefficient: 0.001},"
    "{type: schatten, name: of_kept, coefficient: 0.002, p: 0.9, weighted_by_topk: true},"
    "{type: ci_masked_recon, name: subsets, coefficient: 0.1, routing: {type: uniform_k_subset}},"
    "{type: unmasked_recon, name: ones_by_layer, coefficient: 0.1, routing: {type: layerwise}},"
    "{type: hidden_acts_recon, coefficient: 0.3, masks: {type: random, samples: 2}, routing: {type: "
    "uniform_k_subset}},"
    "{type: hidden_acts_recon, name: hidden_ci, coefficient: 0.2, masks: {type: ci}},"
    "{type: hidden_acts_recon, name: hidden_attacked, coefficient: 0.2, masks: {type: adversarial, "
    "adversary: "
    "{type: persistent, learning_rate: 0.05}}},"
    "{type: hidden_acts_recon, name: hidden_fresh, coefficient: 0.2, masks: {type: adversarial, adversary: "
    "{type: fresh, steps: 2}}}]";

struct Trace {
  std::vector<std::vector<double>> losses;
  std::vector<double> norms;
  at::Tensor components, ci;
  NamedTensors state;
};

Trace train(const std::vector<std::string>& overrides, int lane_count, int steps,
            at::ScalarType type = at::kDouble, at::Device device = at::kCPU) {
  std::vector<std::string> all = {every_term, "training.batch_size=4"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  GoldenCase golden("plain", type, all, device);
  Lanes lanes(lane_count);
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  TrainingStep step(golden.decomposition, golden.config, data.sequence_length, lanes);
  Trace trace;
  for (int s = 0; s < steps; ++s) {
    const StepResult result = step.run(tokens.batch(4 * s, 4), s);
    trace.losses.emplace_back();
    for (const at::Tensor& loss : result.losses) trace.losses.back().push_back(loss.item<double>());
    trace.norms.push_back(result.components_norm.item<double>());
    trace.norms.push_back(result.causal_importance_norm.item<double>());
  }
  trace.components = golden.decomposition.components.flat();
  trace.ci = golden.decomposition.ci_parameters.flat();
  trace.state = step.state();
  return trace;
}

void expect_equal(const Trace& a, const Trace& b, double tolerance) {
  for (std::size_t s = 0; s < a.losses.size(); ++s) {
    for (std::size_t k = 0; k < a.losses[s].size(); ++k) {
      EXPECT_NEAR(a.losses[s][k], b.losses[s][k], tolerance * std::abs(a.losses[s][k]))
          << "loss " << k << " of step " << s;
    }
  }
  for (std::size_t i = 0; i < a.norms.size(); ++i)
    EXPECT_NEAR(a.norms[i], b.norms[i], tolerance * a.norms[i]);
  EXPECT_LE(relative_error(a.components, b.components), tolerance);
  EXPECT_LE(relative_error(a.ci, b.ci), tolerance);
  ASSERT_EQ(a.state.size(), b.state.size());
  for (std::size_t i = 0; i < a.state.size(); ++i) {
    if (!a.state[i].first.starts_with("optimizer/")) {
      EXPECT_LE(relative_error(a.state[i].second, b.state[i].second), tolerance) << a.state[i].first;
    }
  }
}

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
  const std::vector<Parameter> components = golden.decomposition.components.bind({});
  const PassContext context{.decomposition = &golden.decomposition,
                            .clean = &clean,
                            .importance = at::zeros({clean.N(), 282}, at::kDouble),
                            .components = &components};
  const double expected =
      reconstruct(context, constant_sources(1.0, 0.0), {}, 0.0, Comparison::squared_error).item<double>();
  EXPECT_NEAR(everything.losses[0][0], expected / static_cast<double>(clean.N()), 1e-12);
}

/// Smooth-L0 penalties of two kinds, with a reference count and an average over steps.
const char* const averaged_frequency =
    "objective=[{type: importance_minimality, coefficient: 0.01, penalty: {type: smooth_l0}},"
    "{type: frequency_minimality, coefficient: 0.02, penalty: {type: smooth_l0, gamma: 0.3}, "
    "reference_count: 500,"
    " moving_average: {decay: 0.8}},"
    "{type: ci_masked_recon, coefficient: 0.5}]";

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

TEST(TrainingStep, ABfloat16StepIsCloseToAFloat32One) {
  const std::vector<std::string> overrides = {every_term, "training.batch_size=4"};
  std::vector<std::vector<double>> losses;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    GoldenCase golden("plain", at::kFloat, overrides);
    std::vector<std::string> warnings;
    Decomposition d = make_decomposition(golden.config, {at::kCPU, type, at::kFloat}, "plain", warnings);
    load_weights(d, golden.config.initialize_from.value());
    Lanes lanes(2);
    const auto& data = std::get<TokensData>(golden.config.data.train);
    const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
    TrainingStep step(d, golden.config, data.sequence_length, lanes);
    losses.emplace_back();
    for (const at::Tensor& loss : step.run(tokens.batch(0, 4), 0).losses)
      losses.back().push_back(loss.item<double>());
  }
  for (std::size_t k = 0; k < losses[0].size(); ++k) {
    EXPECT_NEAR(losses[1][k], losses[0][k], 0.05 * std::abs(losses[0][k])) << "term " << k;
  }
}

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

TEST(TrainingStepOnCuda, ACapturedStepIsTheStep) {
  if (!cuda_is_usable()) GTEST_SKIP() << "NOT TESTED: this build or this machine has no CUDA";
  const std::vector<std::string> moving = {
      "training.steps=10", "training.learning_rate={start: 0.01, schedule: cosine, final_fraction: 0.1}"};
  std::vector<std::string> captured = moving;
  captured.push_back("training.cuda_graph=true");
  for (const char* micro : {"training.micro_batch_size=null", "training.micro_batch_size=2"}) {
    std::vector<std::string> eager = moving, graph = captured;
    eager.emplace_back(micro), graph.emplace_back(micro);
    // Two steps before the capture, the captured one, three replays.
    expect_equal(train(eager, 1, 6, at::kFloat, at::kCUDA), train(graph, 1, 6, at::kFloat, at::kCUDA), 1e-4);
  }
}

}  // namespace
}  // namespace vpd::testing
