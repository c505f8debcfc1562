// What must not change a step: the number of processes. Threads stand in for them.

#include "support/processes.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/places.hpp"
#include "trace.hpp"
#include "vpd/base/error.hpp"
#include "vpd/config/run.hpp"

namespace vpd::testing {
namespace {

constexpr double tolerance = 1e-9;  // as between lanes, in float64

class StepOfProcesses : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_test_processes()) GTEST_SKIP() << "NOT TESTED: this build has no process groups";
  }
};

std::vector<Trace> train_as_processes(int count, const std::vector<std::string>& overrides, int lanes,
                                      int steps) {
  std::vector<Trace> traces(static_cast<std::size_t>(count));
  as_processes(count, [&](Processes& processes) {
    traces[static_cast<std::size_t>(processes.rank())] =
        train(overrides, lanes, steps, at::kDouble, at::kCPU, processes);
  });
  return traces;
}

TEST_F(StepOfProcesses, TwoDoNotChangeIt) {
  const Trace one = train({}, 1, 3);
  for (const int lanes : {1, 2}) {
    const std::vector<Trace> two = train_as_processes(2, {}, lanes, 3);
    expect_equal(two[0], one, tolerance);
    EXPECT_TRUE(at::equal(two[0].components, two[1].components));
    EXPECT_TRUE(at::equal(two[0].ci, two[1].ci));
    EXPECT_EQ(two[0].losses, two[1].losses);
    EXPECT_EQ(two[0].norms, two[1].norms);
  }
}

TEST_F(StepOfProcesses, NorDoFourOfOneRow) {
  expect_equal(train_as_processes(4, {}, 1, 2)[0], train({}, 2, 2), tolerance);
}

TEST_F(StepOfProcesses, NorDoMicroBatches) {
  const Trace one = train({}, 1, 3);
  expect_equal(train_as_processes(2, {"training.micro_batch_size=1"}, 1, 3)[0], one, tolerance);
  // Larger than what a process has: that, then.
  expect_equal(train_as_processes(2, {"training.micro_batch_size=4"}, 1, 3)[0], one, tolerance);
}

TEST_F(StepOfProcesses, NorDoesAnyChangeAverages) {
  const Trace one = train({averaged_frequency}, 1, 3);
  expect_equal(train_as_processes(2, {averaged_frequency}, 1, 3)[0], one, tolerance);
  expect_equal(train_as_processes(2, {averaged_frequency, "training.micro_batch_size=1"}, 1, 3)[0], one,
               tolerance);
}

/// The target of the golden run `plain`, four rows of it a batch, with a causal-importance function of a
/// kind.
struct SmallRun {
  explicit SmallRun(Processes& processes, const std::string& kind = transformer)
      : config(
            load_run_config(test_data() / "plain" / "config.yaml",
                            {"initialize_from=null", "training.batch_size=4", "causal_importance=" + kind})),
        decomposition(make_decomposition(config, {at::kCPU, at::kDouble, at::kDouble}, "plain", warnings)),
        data(tokens().path, tokens().sequence_length, tokens().shuffle, config.seed),
        lanes(1),
        step(decomposition, config, tokens().sequence_length, lanes, processes) {}

  const TokensData& tokens() const { return std::get<TokensData>(config.data.train); }
  StepResult run() {
    return step.run(data.batch(step.rows().begin, step.rows().size()), 0, /*want_l0=*/true);
  }

  static constexpr const char* transformer =
      "{type: global_shared_transformer, d_model: 32, n_blocks: 2, n_heads: 4, d_mlp: 48}";
  RunConfig config;
  std::vector<std::string> warnings;
  Decomposition decomposition;
  TokenDataset data;
  Lanes lanes;
  TrainingStep step;
};

void expect_same_parameters(const Decomposition& found, const Decomposition& expected) {
  EXPECT_LE(relative_error(found.components.flat(), expected.components.flat()), tolerance);
  EXPECT_LE(relative_error(found.ci_parameters.flat(), expected.ci_parameters.flat()), tolerance);
}

TEST_F(StepOfProcesses, EveryKindOfCausalImportance) {
  for (const char* kind :
       {SmallRun::transformer, "{type: mlp, hidden_dims: [6]}", "{type: vector_mlp, hidden_dims: [6]}",
        "{type: shared_mlp, hidden_dims: [20]}", "{type: global_shared_mlp, hidden_dims: [24, 20]}"}) {
    SCOPED_TRACE(kind);
    SmallRun one(Processes::none(), kind);
    const StepResult expected = one.run();
    as_processes(2, [&](Processes& processes) {
      SmallRun run(processes, kind);
      const StepResult found = run.run();
      EXPECT_LE(relative_error(found.l0, expected.l0), tolerance);
      EXPECT_LE(relative_error(found.components_norm, expected.components_norm), tolerance);
      EXPECT_LE(relative_error(found.causal_importance_norm, expected.causal_importance_norm), tolerance);
      for (std::size_t k = 0; k < expected.saturated_sources.size(); ++k) {
        if (!expected.saturated_sources[k].defined()) continue;
        EXPECT_LE(relative_error(found.saturated_sources[k], expected.saturated_sources[k]), tolerance);
      }
      expect_same_parameters(run.decomposition, one.decomposition);
    });
  }
}

TEST_F(StepOfProcesses, TheWarmUp) {
  SmallRun one(Processes::none());
  std::vector<double> losses;
  for (int i = 0; i < 3; ++i) losses.push_back(one.step.warm_up().item<double>());
  as_processes(2, [&](Processes& processes) {
    SmallRun run(processes);
    for (const double loss : losses) EXPECT_NEAR(run.step.warm_up().item<double>(), loss, tolerance * loss);
    expect_same_parameters(run.decomposition, one.decomposition);
  });
}

TEST_F(StepOfProcesses, ProcessZerosParametersAreEverybodys) {
  as_processes(2, [&](Processes& processes) {
    SmallRun run(processes);
    const at::Tensor parameters = run.decomposition.components.flat(), before = parameters.clone();
    if (!processes.writes()) parameters.mul_(2.0);
    run.step.share();
    EXPECT_TRUE(at::equal(parameters, before));
  });
}

TEST_F(StepOfProcesses, ANanEndsAllOfThem) {
  const auto errors = try_as_processes(2, [&](Processes& processes) {
    SmallRun run(processes);
    if (!processes.writes())  // U of the second site
      run.decomposition.components.value(3).view({-1})[0] = std::numeric_limits<double>::quiet_NaN();
    run.run();
  });
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_THROW(std::rethrow_exception(error), NumericalError);
  }
}

TEST_F(StepOfProcesses, ABatchThatCannotBeDivided) {
  const auto errors = try_as_processes(3, [&](Processes& processes) { SmallRun run(processes); });
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_THROW(std::rethrow_exception(error), UsageError);
  }
}

}  // namespace
}  // namespace vpd::testing
