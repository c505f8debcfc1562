#pragma once

// A few steps with every kind of term, adversary and routing, and what they left behind.

#include <cmath>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/golden.hpp"
#include "vpd/io/tokens.hpp"
#include "vpd/training/step.hpp"

namespace vpd::testing {

inline const char* const every_term =
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
    "{type: topk_attribution_recon, coefficient: 0.3, k: 11.3, routing: {type: "
    "uniform_k_subset}}, {type: schatten, coefficient: 0.001},"
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

/// Smooth-L0 penalties of two kinds, with a reference count and an average over steps.
inline const char* const averaged_frequency =
    "objective=[{type: importance_minimality, coefficient: 0.01, penalty: {type: smooth_l0}},"
    "{type: frequency_minimality, coefficient: 0.02, penalty: {type: smooth_l0, gamma: 0.3}, "
    "reference_count: 500,"
    " moving_average: {decay: 0.8}},"
    "{type: ci_masked_recon, coefficient: 0.5}]";

struct Trace {
  std::vector<std::vector<double>> losses;
  std::vector<double> norms;
  at::Tensor components, ci;
  NamedTensors state;
};

/// The golden run `plain` with every term on batches of four rows, of which this process computes its own.
inline Trace train(const std::vector<std::string>& overrides, int lane_count, int steps,
                   at::ScalarType type = at::kDouble, at::Device device = at::kCPU,
                   Processes& processes = Processes::none()) {
  std::vector<std::string> all = {every_term, "training.batch_size=4"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  GoldenCase golden("plain", type, all, device);
  Lanes lanes(lane_count);
  const auto& data = std::get<TokensData>(golden.config.data.train);
  const TokenDataset tokens(data.path, data.sequence_length, data.shuffle, golden.config.seed);
  TrainingStep step(golden.decomposition, golden.config, data.sequence_length, lanes, processes);
  step.share();
  const Range rows = step.rows();
  Trace trace;
  for (int s = 0; s < steps; ++s) {
    const StepResult result = step.run(tokens.batch(4 * s + rows.begin, rows.size()), s);
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

inline void expect_equal(const Trace& a, const Trace& b, double tolerance) {
  ASSERT_EQ(a.losses.size(), b.losses.size());
  ASSERT_EQ(a.norms.size(), b.norms.size());
  for (std::size_t s = 0; s < a.losses.size(); ++s) {
    ASSERT_EQ(a.losses[s].size(), b.losses[s].size());
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
    EXPECT_EQ(a.state[i].first, b.state[i].first);
    EXPECT_LE(relative_error(a.state[i].second, b.state[i].second), tolerance) << a.state[i].first;
  }
}

}  // namespace vpd::testing
