#include "vpd/training/loop.hpp"

#include <map>

#include <gtest/gtest.h>

#include "io/support.hpp"
#include "run_case.hpp"
#include "vpd/training/checkpoint.hpp"

namespace vpd {
namespace {

using testing::RunCase;
using testing::TemporaryDirectory;
using Evaluations = std::vector<std::pair<std::int64_t, bool>>;

// Everything that the loop told, and a directory with its checkpoints.
struct Record {
  std::map<std::int64_t, MetricsLog::Values> logged;
  Evaluations evaluated;
  std::vector<std::int64_t> saved, stepped, warmed_up;
  LoopEnd end = LoopEnd::finished;
};

// Without the figures of speed and memory.
MetricsLog::Values reproducible(MetricsLog::Values values) {
  std::erase_if(values, [](const auto& value) { return value.first.starts_with("perf/"); });
  return values;
}

Record loop(RunCase& c, const RunDirectory& run, std::optional<std::int64_t> resumed_at = std::nullopt,
            std::optional<std::int64_t> stop_after = std::nullopt,
            std::optional<std::int64_t> cut_short_at = std::nullopt) {
  Record record;
  const auto made = [&] { return record.stepped.empty() ? resumed_at.value_or(0) : record.stepped.back(); };
  LoopHooks hooks;
  hooks.stop = [&] { return stop_after && made() >= *stop_after; };
  hooks.warm_up = [&](std::int64_t done, std::optional<double>) { record.warmed_up.push_back(done); };
  hooks.stepped = [&](std::int64_t done) { record.stepped.push_back(done); };
  hooks.log = [&](std::int64_t s, const MetricsLog::Values& values) { record.logged[s] = values; };
  hooks.evaluate = [&](std::int64_t s, bool slow) {
    if (s == cut_short_at) return false;
    record.evaluated.emplace_back(s, slow);
    return true;
  };
  hooks.checkpoint = [&](std::int64_t s) {
    record.saved.push_back(s);
    save_checkpoint(run, c.decomposition, c.step,
                    {.step = s, .data_position = s * c.config.training.batch_size, .lanes = 2}, 2);
  };
  record.end = run_loop(c.step, c.config, c.data, at::kCPU, resumed_at, hooks);
  return record;
}

TEST(Loop, TenStepsAndTenMoreAreTwenty) {
  const RunConfig config =
      testing::run_with_draws({"training.steps=20", "training.faithfulness_warmup.steps=3",
                               "output.log_every=3", "evaluation.every=5", "evaluation.slow_every=10"});
  TemporaryDirectory directory;
  const RunDirectory once = RunDirectory::create(directory / "once"),
                     twice = RunDirectory::create(directory / "twice");
  RunCase whole(config), first(config), second(config);
  const Record all = loop(whole, once);
  const Record begun = loop(first, twice, std::nullopt, 10);
  EXPECT_EQ(begun.end, LoopEnd::stopped);
  EXPECT_EQ(begun.saved, std::vector<std::int64_t>{10});
  const Progress progress = load_checkpoint(twice.latest()->path, second.decomposition, second.step);
  ASSERT_EQ(progress.step, 10);
  const Record ended = loop(second, twice, progress.step);

  EXPECT_EQ(all.end, LoopEnd::finished);
  EXPECT_EQ(ended.end, LoopEnd::finished);
  EXPECT_TRUE(ended.warmed_up.empty());
  for (const char* name :
       {components_file, causal_importance_file, training_state_file, checkpoint_state_file}) {
    EXPECT_TRUE(read_text(once.checkpoint_path(20) / name) == read_text(twice.checkpoint_path(20) / name))
        << name << " differs";
  }

  std::map<std::int64_t, MetricsLog::Values> joined = begun.logged;
  joined.insert(ended.logged.begin(), ended.logged.end());
  ASSERT_EQ(joined.size(), all.logged.size());
  for (const auto& [s, values] : all.logged)
    EXPECT_EQ(reproducible(joined[s]), reproducible(values)) << "step " << s;
  Evaluations evaluated = begun.evaluated;
  evaluated.insert(evaluated.end(), ended.evaluated.begin(), ended.evaluated.end());
  EXPECT_EQ(evaluated, all.evaluated);
}

TEST(Loop, AnEvaluationThatIsCutShortIsMadeByTheResumedRun) {
  const RunConfig config =
      testing::run_with_draws({"training.steps=6", "evaluation.every=2", "output.checkpoint_every=4",
                               "training.faithfulness_warmup.steps=0"});
  TemporaryDirectory directory;
  for (const std::int64_t at : {2, 4, 6}) {  // without a checkpoint at that step, with one, and the last
    const RunDirectory run = RunDirectory::create(directory / std::to_string(at));
    RunCase first(config), second(config);
    const Record begun = loop(first, run, std::nullopt, std::nullopt, at);
    EXPECT_EQ(begun.end, LoopEnd::stopped);
    EXPECT_EQ(begun.saved.back(), at);
    EXPECT_EQ(std::count(begun.saved.begin(), begun.saved.end(), at), 1);
    EXPECT_EQ(load_checkpoint(run.latest()->path, second.decomposition, second.step).step, at);
    const Record ended = loop(second, run, at);
    EXPECT_EQ(ended.end, LoopEnd::finished);
    Evaluations evaluated = begun.evaluated;
    evaluated.insert(evaluated.end(), ended.evaluated.begin(), ended.evaluated.end());
    EXPECT_EQ(evaluated, (Evaluations{{2, false}, {4, false}, {6, false}}));
  }
}

TEST(Loop, WhatIsDoneWhen) {
  const RunConfig config =
      testing::run_with_draws({"training.steps=8", "output.log_every=3", "output.checkpoint_every=4",
                               "evaluation.every=2", "evaluation.slow_every=4"});
  TemporaryDirectory directory;
  RunCase c(config);
  const Record record = loop(c, RunDirectory::create(directory / "run"));
  std::vector<std::int64_t> logged;
  for (const auto& [s, values] : record.logged) logged.push_back(s);
  EXPECT_EQ(logged, (std::vector<std::int64_t>{0, 3, 6, 7}));
  EXPECT_EQ(record.saved, (std::vector<std::int64_t>{4, 8}));
  EXPECT_EQ(record.evaluated, (Evaluations{{2, false}, {4, true}, {6, false}, {8, true}}));
  EXPECT_EQ(record.stepped, (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));

  std::vector<std::string> names;
  for (const auto& [name, value] : record.logged.at(3)) {
    names.push_back(name);
    EXPECT_GT(value, 0.0) << name;
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "train/loss/total", "train/loss/faithfulness", "train/loss/importance_minimality",
                "train/loss/frequency_minimality", "train/loss/ci_masked_recon",
                "train/loss/adversarial_recon", "train/loss/stochastic_recon", "train/grad_norm/components",
                "train/grad_norm/causal_importance", "train/l0", "train/saturated_sources/adversarial_recon",
                "perf/step_ms", "perf/tokens_per_s", "perf/peak_memory_bytes"}));
}

TEST(Loop, NoStepsInitialisesAndWarmsUp) {
  TemporaryDirectory directory;
  RunCase c(testing::run_with_draws({"training.steps=0", "training.faithfulness_warmup.steps=2"}));
  const at::Tensor before = c.decomposition.components.flat().clone();
  const Record record = loop(c, RunDirectory::create(directory / "run"));
  EXPECT_EQ(record.end, LoopEnd::finished);
  EXPECT_EQ(record.warmed_up, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(record.saved, std::vector<std::int64_t>{0});
  EXPECT_TRUE(record.logged.empty());
  EXPECT_FALSE(c.decomposition.components.flat().equal(before));
}

TEST(Loop, StoppedInTheWarmUpSavesNothing) {
  TemporaryDirectory directory;
  RunCase c(testing::run_with_draws({"training.faithfulness_warmup.steps=2"}));
  const Record record = loop(c, RunDirectory::create(directory / "run"), std::nullopt, 0);
  EXPECT_EQ(record.end, LoopEnd::stopped_in_warm_up);
  EXPECT_TRUE(record.saved.empty());
}

TEST(Loop, StoppedBeforeTheFirstStepSavesTheStart) {
  TemporaryDirectory directory;
  RunCase c(testing::run_with_draws());
  const Record record = loop(c, RunDirectory::create(directory / "run"), std::nullopt, 0);
  EXPECT_EQ(record.end, LoopEnd::stopped);
  EXPECT_EQ(record.saved, std::vector<std::int64_t>{0});
}

TEST(Loop, StoppedRightAfterResumingSavesNothingTwice) {
  TemporaryDirectory directory;
  RunCase c(testing::run_with_draws());
  const Record record = loop(c, RunDirectory::create(directory / "run"), 4, 4);
  EXPECT_EQ(record.end, LoopEnd::stopped);
  EXPECT_TRUE(record.saved.empty());
}

TEST(Loop, NothingIsSavedOfAStepThatLeavesTheFiniteNumbers) {
  TemporaryDirectory directory;
  RunCase c(testing::run_with_draws({"training.learning_rate={start: 1e30}", "output.checkpoint_every=1"}));
  const RunDirectory run = RunDirectory::create(directory / "run");
  EXPECT_ERROR_AS(NumericalError, "step 1: ", loop(c, run));
  EXPECT_EQ(run.latest()->step, 1);
}

TEST(Loop, MicroBatchesComputeTheWholeBatch) {
  RunCase whole(testing::run_with_draws()),
      parts(testing::run_with_draws({"training.micro_batch_size=1"}), 1);
  for (std::int64_t s = 0; s < 2; ++s) {
    const StepResult expected = whole.step.run(whole.batch(s), s, true),
                     found = parts.step.run(parts.batch(s), s, true);
    const auto compare = [&](const at::Tensor& a, const at::Tensor& b, const std::string& name) {
      EXPECT_NEAR(a.item<double>(), b.item<double>(), 1e-5 * std::abs(b.item<double>()))
          << name << ", step " << s;
    };
    for (std::size_t k = 0; k < expected.losses.size(); ++k)
      compare(found.losses[k], expected.losses[k], expected.labels[k]);
    compare(found.total, expected.total, "total");
    compare(found.components_norm, expected.components_norm, "gradient norm of U and V");
    compare(found.l0, expected.l0, "L0");
    // The derivative of g^p at small g turns rounding into more.
    EXPECT_NEAR(found.causal_importance_norm.item<double>(), expected.causal_importance_norm.item<double>(),
                1e-3 * expected.causal_importance_norm.item<double>());
  }
}

}  // namespace
}  // namespace vpd
