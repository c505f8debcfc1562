// Rows of a background beside those of the target, prompts of several lengths, terms that begin later, and
// the decay of what is unused: against the method written out, and whatever divides a step.

#include <fstream>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/support.hpp"
#include "support/golden.hpp"
#include "support/places.hpp"
#include "support/processes.hpp"
#include "training/reference_step.hpp"
#include "vpd/io/data.hpp"
#include "vpd/training/step.hpp"

namespace vpd::testing {
namespace {

constexpr std::int64_t rows = 4, background_rows = 4;

/// Terms of both kinds of rows. From the second step of ten on there is an attack, too.
const std::string two_streams =
    "objective=[{type: stochastic_recon, coefficient: 1, routing: {type: uniform_k_subset}},"
    "{type: adversarial_recon, coefficient: {points: [[0, 0], [0.1, 0], [1, 0.9]]}, adversary: {type: "
    "persistent, scope: shared_across_batch, learning_rate: 0.05, warmup_steps: 2}},"
    "{type: adversarial_recon, name: each, coefficient: 0.5, adversary: {type: persistent, learning_rate: "
    "0.05}},"
    "{type: adversarial_recon, name: two, coefficient: 0.5, adversary: {type: persistent, scope: n_sources, "
    "sources: 2, learning_rate: 0.05}},"
    "{type: adversarial_recon, name: fresh, coefficient: 0.5, adversary: {type: fresh, steps: 2, scope: "
    "per_datapoint}},"
    "{type: unmasked_recon, coefficient: 0.2},"
    "{type: hidden_acts_recon, coefficient: 0.1},"
    "{type: importance_minimality, coefficient: {points: [[0, 0.001], [1, 0.01]]}, p: {start: 2, end: 1}},"
    "{type: stochastic_recon, name: background, rows: background, delta: 1, coefficient: 1, samples: 2},"
    "{type: ci_masked_recon, name: background_ci, rows: background, delta: 0.5, coefficient: 0.3},"
    "{type: adversarial_recon, name: background_attack, rows: background, delta: 1, coefficient: 0.4, "
    "adversary: {type: persistent, scope: shared_across_batch, learning_rate: 0.05}},"
    "{type: importance_minimality, name: background_importance, rows: background, coefficient: 0.004, p: 1},"
    "{type: frequency_minimality, name: background_frequency, rows: background, coefficient: 0.002}]";

std::vector<std::string> overrides(const std::vector<std::string>& more = {}) {
  std::vector<std::string> all = {
      two_streams, fmt::format("training.batch_size={}", rows),
      fmt::format("training.background_batch_size={}", background_rows),
      "data.background={type: tokens, path: train.npy, sequence_length: 11, shuffle: true}",
      "training.unused_decay=0.3"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// Prompts of 3, 5 and 5 tokens, compared at their last position.
class Prompts {
 public:
  Prompts() {
    std::ofstream(directory_ / "prompts.jsonl")
        << "{\"tokens\": [5, 8, 9, 2, 7]}\n{\"tokens\": [1, 2, 3]}\n\n"
           "{\"tokens\": [4, 4, 6, 1, 3]}\n";
  }
  std::string source(const char* positions, int length = 6) const {
    return fmt::format("{{type: prompts, path: {}, sequence_length: {}, positions: {}}}",
                       (directory_ / "prompts.jsonl").string(), length, positions);
  }

 private:
  TemporaryDirectory directory_;
};

/// A decomposition of the target of the golden run `plain`.
struct Subject {
  explicit Subject(const std::vector<std::string>& all, at::ScalarType type = at::kDouble)
      : config(load_run_config(test_data() / "plain" / "config.yaml", all)),
        decomposition(make_decomposition(config, {at::kCPU, type, type}, "plain", warnings)) {
    if (config.initialize_from) load_weights(decomposition, *config.initialize_from);
  }
  RunConfig config;
  std::vector<std::string> warnings;
  Decomposition decomposition;
};

/// Rows of both kinds for each step.
struct Streams {
  explicit Streams(const Subject& golden)
      : train(open_dataset(golden.config, DataRole::train, golden.decomposition.target->input(), "plain",
                           rows)),
        background(open_dataset(golden.config, DataRole::background, golden.decomposition.target->input(),
                                "plain", background_rows)) {}
  at::Tensor of(std::int64_t s) const { return train->batch(rows * s, rows); }
  at::Tensor more(std::int64_t s) const { return background->batch(background_rows * s, background_rows); }

  std::unique_ptr<Dataset> train, background;
};

void compare_with_the_reference(const std::vector<std::string>& all) {
  // Clipping divides by a number in float32.
  constexpr double tolerance = 2e-6;
  Subject fast(all), plain(all);
  const Streams streams(fast);
  Lanes lanes(2);
  TrainingStep step(fast.decomposition, fast.config, streams.train->length(), lanes);
  ReferenceStep reference(plain.decomposition, plain.config, streams.train->length());
  for (int s = 0; s < 6; ++s) {
    const StepResult found = step.run(streams.of(s), s, /*want_l0=*/true, streams.more(s));
    const std::vector<double> expected = reference.run(streams.of(s), s, streams.more(s));
    ASSERT_EQ(found.losses.size(), expected.size());
    EXPECT_EQ(found.losses[1].defined(), s > 1) << "the attack sleeps for a tenth of the run";
    EXPECT_TRUE(found.background_l0.defined());
    for (std::size_t k = 0; k < expected.size(); ++k) {
      const double value = found.losses[k].defined() ? found.losses[k].item<double>() : 0.0;
      EXPECT_NEAR(value, expected[k], tolerance * std::abs(expected[k]))
          << found.labels[k] << " in step " << s;
    }
  }
  EXPECT_LE(relative_error(fast.decomposition.components.flat(), plain.decomposition.components.flat()),
            tolerance);
  EXPECT_LE(relative_error(fast.decomposition.ci_parameters.flat(), plain.decomposition.ci_parameters.flat()),
            tolerance);
}

TEST(TargetedStep, IsWhatTheMethodSays) { compare_with_the_reference(overrides()); }

TEST(TargetedStep, WithPromptsOfSeveralLengths) {
  const Prompts prompts;
  for (const char* positions : {"all", "last"}) {
    SCOPED_TRACE(positions);
    compare_with_the_reference(overrides({"data.train=" + prompts.source(positions)}));
  }
  compare_with_the_reference(
      overrides({"data.train=" + prompts.source("last"), "data.background=" + prompts.source("last", 5)}));
}

TEST(TargetedStep, WhereTheHeadIsASite) {
  const Prompts prompts;
  compare_with_the_reference(overrides({"data.train=" + prompts.source("last"), "initialize_from=null",
                                        "sites=[{pattern: lm_head, C: 9}, {pattern: h.1.mlp.*, C: 7}]"}));
}

/// What a few steps leave behind.
struct Left {
  std::vector<double> losses;
  at::Tensor components, ci;
  NamedTensors state;
};
Left train(const std::vector<std::string>& all, int lane_count, Processes& processes = Processes::none()) {
  Subject golden(all);
  const Streams streams(golden);
  Lanes lanes(lane_count);
  TrainingStep step(golden.decomposition, golden.config, streams.train->length(), lanes, processes);
  step.share();
  const Range own = step.rows(), own_background = step.rows(TermRows::background);
  Left left;
  for (int s = 0; s < 4; ++s) {
    const StepResult result =
        step.run(streams.of(s).narrow(0, own.begin, own.size()), s, /*want_l0=*/true,
                 streams.more(s).narrow(0, own_background.begin, own_background.size()));
    for (const at::Tensor& loss : result.losses) {
      if (loss.defined()) left.losses.push_back(loss.item<double>());
    }
    left.losses.push_back(result.l0.item<double>());
    left.losses.push_back(result.background_l0.item<double>());
  }
  left.components = golden.decomposition.components.flat();
  left.ci = golden.decomposition.ci_parameters.flat();
  left.state = step.state();
  return left;
}

void expect_same(const Left& a, const Left& b) {
  constexpr double tolerance = 1e-9;
  ASSERT_EQ(a.losses.size(), b.losses.size());
  for (std::size_t k = 0; k < a.losses.size(); ++k)
    EXPECT_NEAR(a.losses[k], b.losses[k], tolerance * std::abs(b.losses[k])) << "loss " << k;
  EXPECT_LE(relative_error(a.components, b.components), tolerance);
  EXPECT_LE(relative_error(a.ci, b.ci), tolerance);
  for (std::size_t i = 0; i < a.state.size(); ++i)
    EXPECT_LE(relative_error(a.state[i].second, b.state[i].second), tolerance) << a.state[i].first;
}

TEST(TargetedStep, NeitherLanesNorMicroBatchesChangeIt) {
  const Prompts prompts;
  const std::vector<std::string> all = overrides({"data.train=" + prompts.source("last")});
  const Left one = train(all, 1);
  expect_same(train(all, 3), one);
  for (const char* micro : {"1", "2"}) {
    std::vector<std::string> parts = all;
    parts.push_back(std::string("training.micro_batch_size=") + micro);
    expect_same(train(parts, std::stoi(micro)), one);
  }
}

TEST(TargetedStep, NorDoProcesses) {
  if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  const Prompts prompts;
  const std::vector<std::string> all = overrides({"data.train=" + prompts.source("last")});
  const Left one = train(all, 1);
  std::vector<Left> two(2);
  as_processes(2, [&](Processes& processes) {
    two[static_cast<std::size_t>(processes.rank())] = train(all, 1, processes);
  });
  expect_same(two[0], one);
  EXPECT_TRUE(at::equal(two[0].components, two[1].components));
}

/// What nothing needs goes to zero as AdamW's decay would take it there, and what is needed stays.
TEST(TargetedStep, DecayTakesWhatIsUnused) {
  const std::vector<std::string> all =
      overrides({"objective=[{type: stochastic_recon, coefficient: 0}, {type: stochastic_recon, name: "
                 "background, rows: "
                 "background, coefficient: 0}]",
                 "training.learning_rate=0.1",
                 "causal_importance={type: global_shared_mlp, hidden_dims: [8]}", "initialize_from=null"});
  Subject golden(all);
  const Streams streams(golden);
  Decomposition& d = golden.decomposition;
  const at::Tensor before = d.components.flat().clone();
  const auto largest = [&](const at::Tensor& input) {
    const CleanPass clean = clean_pass(d, input);
    return causal_importance(d, clean, d.ci_parameters.bind({}), d.components.bind({})).lower.amax(0);
  };
  const at::Tensor g = at::maximum(largest(streams.of(0)), largest(streams.more(0)));
  Lanes lanes(2);
  TrainingStep step(d, golden.config, streams.train->length(), lanes);
  step.run(streams.of(0), 0, false, streams.more(0));
  for (std::size_t i = 0; i < d.sites.size(); ++i) {
    const at::Tensor kept = 1.0 - 0.1 * 0.3 * (1.0 - d.sites.columns(g, i));
    const auto was = [&](std::size_t k) { return d.components.view(before, k); };
    EXPECT_LE(relative_error(d.components.V(i), was(2 * i) * kept), 1e-12);
    EXPECT_LE(relative_error(d.components.U(i), was(2 * i + 1) * kept.unsqueeze(1)), 1e-12);
  }
}

TEST(TargetedStep, AResumedRunCountsTheAscentsOfStepsThatWereAwake) {
  const Prompts prompts;
  const std::vector<std::string> all = overrides({"data.train=" + prompts.source("last")});
  const TemporaryDirectory directory;
  Subject first(all, at::kFloat), second(all, at::kFloat);
  const Streams streams(first);
  Lanes lanes(2);
  TrainingStep step(first.decomposition, first.config, streams.train->length(), lanes),
      resumed(second.decomposition, second.config, streams.train->length(), lanes);
  for (int s = 0; s < 3; ++s) step.run(streams.of(s), s, false, streams.more(s));
  save_safetensors(directory / "state.safetensors", step.state());
  second.decomposition.components.flat().copy_(first.decomposition.components.flat());
  second.decomposition.ci_parameters.flat().copy_(first.decomposition.ci_parameters.flat());
  resumed.load(directory / "state.safetensors", 3);
  const StepResult a = step.run(streams.of(3), 3, false, streams.more(3)),
                   b = resumed.run(streams.of(3), 3, false, streams.more(3));
  EXPECT_EQ(a.total.item<double>(), b.total.item<double>());
  EXPECT_TRUE(at::equal(first.decomposition.components.flat(), second.decomposition.components.flat()));
}

}  // namespace
}  // namespace vpd::testing
