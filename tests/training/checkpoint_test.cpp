#include "vpd/training/checkpoint.hpp"

#include <fstream>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/support.hpp"
#include "run_case.hpp"

namespace vpd {
namespace {

using testing::RunCase;
using testing::TemporaryDirectory;

constexpr const char* tensor_files[] = {components_file, causal_importance_file, training_state_file};

// A run of three steps and its checkpoint.
class CheckpointOfThreeSteps : public ::testing::Test {
 protected:
  CheckpointOfThreeSteps()
      : made_(testing::run_with_draws()), run_(RunDirectory::create(directory_ / "run")) {
    for (std::int64_t s = 0; s < 3; ++s) made_.step.run(made_.batch(s), s);
    save_checkpoint(run_, made_.decomposition, made_.step, {.step = 3, .data_position = 9, .lanes = 2}, 1);
  }

  std::filesystem::path path() const { return run_.checkpoint_path(3); }

  // state.json with one value replaced.
  void edit_state(const std::string& key, const nlohmann::json& value) const {
    nlohmann::json state = nlohmann::json::parse(read_text(path() / checkpoint_state_file));
    state[key] = value;
    write_atomically(path() / checkpoint_state_file, state.dump());
  }

  TemporaryDirectory directory_;
  RunCase made_;
  RunDirectory run_;
};

TEST_F(CheckpointOfThreeSteps, ComesBackBitForBit) {
  RunCase other(testing::run_with_draws());
  const Progress progress = load_checkpoint(path(), other.decomposition, other.step);
  EXPECT_EQ(progress.step, 3);
  EXPECT_EQ(progress.data_position, 9);
  EXPECT_EQ(progress.lanes, 2);
  EXPECT_EQ(progress.threads_per_lane, 1);

  const RunDirectory copy = RunDirectory::create(directory_ / "copy");
  save_checkpoint(copy, other.decomposition, other.step, progress, 1);
  for (const char* name : tensor_files) {
    EXPECT_EQ(read_text(copy.checkpoint_path(3) / name), read_text(path() / name)) << name;
  }
}

TEST_F(CheckpointOfThreeSteps, TheStateDecidesTheNextStep) {
  RunCase other(testing::run_with_draws());
  load_checkpoint(path(), other.decomposition, other.step);
  const StepResult expected = made_.step.run(made_.batch(3), 3), found = other.step.run(other.batch(3), 3);
  EXPECT_EQ(found.total.item<double>(), expected.total.item<double>());
  for (std::size_t i = 0; i < made_.decomposition.components.size(); ++i) {
    EXPECT_TRUE(other.decomposition.components.value(i).equal(made_.decomposition.components.value(i)));
  }
}

// Every term and adversary that carries something from step to step.
RunConfig run_with_memories() {
  RunConfig config = testing::run_with_draws();
  std::erase_if(config.objective, [](const TermConfig& term) {
    const ObjectivePlan plan = plan_of(ObjectiveConfig{term});
    return plan.front().minimality() || plan.front().adversary();
  });
  const Coefficient one = Coefficient::from_number(0.01);
  config.objective.push_back(
      ImportanceMinimalityTerm{.coefficient = one, .penalty = SmoothL0PenaltyConfig{}});
  config.objective.push_back(
      FrequencyMinimalityTerm{.coefficient = one, .moving_average = MovingAverageConfig{.decay = 0.7}});
  const PersistentAdversaryConfig pool{.scope = PersistentScope::pooled, .sources = 2};
  config.objective.push_back(AdversarialReconTerm{.coefficient = one, .adversary = pool});
  config.objective.push_back(
      AdversarialReconTerm{.name = "compact",
                           .coefficient = one,
                           .adversary = PersistentAdversaryConfig{.storage = SourceStorage::compact}});
  return config;
}

TEST(CheckpointOfMemories, GoesOnBitForBit) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::create(directory / "run");
  RunCase made(run_with_memories());
  for (std::int64_t s = 0; s < 3; ++s) made.step.run(made.batch(s), s);
  save_checkpoint(run, made.decomposition, made.step, {.step = 3, .data_position = 9, .lanes = 2}, 1);
  RunCase other(run_with_memories());
  load_checkpoint(run.checkpoint_path(3), other.decomposition, other.step);
  for (std::int64_t s = 3; s < 6; ++s) {
    const StepResult expected = made.step.run(made.batch(s), s), found = other.step.run(other.batch(s), s);
    for (std::size_t k = 0; k < expected.losses.size(); ++k)
      EXPECT_EQ(found.losses[k].item<double>(), expected.losses[k].item<double>()) << expected.labels[k];
  }
  const NamedTensors expected = made.step.state(), found = other.step.state();
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_TRUE(found[i].second.equal(expected[i].second)) << expected[i].first;
}

TEST_F(CheckpointOfThreeSteps, DamageIsFoundInEachFile) {
  for (const char* name : tensor_files) {
    const std::string whole = read_text(path() / name);
    std::string damaged = whole;
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    write_atomically(path() / name, damaged);
    EXPECT_DATA_ERROR(name, load_checkpoint(path(), made_.decomposition, made_.step));
    write_atomically(path() / name, whole);
  }
}

TEST_F(CheckpointOfThreeSteps, StateOfAnotherVersion) {
  edit_state("format_version", 7);
  EXPECT_DATA_ERROR("expected format version 1, found 7",
                    load_checkpoint(path(), made_.decomposition, made_.step));
}

TEST_F(CheckpointOfThreeSteps, StateWithAnImpossibleStep) {
  edit_state("step", -1);
  EXPECT_DATA_ERROR("under \"step\", found -1", load_checkpoint(path(), made_.decomposition, made_.step));
  edit_state("step", nullptr);
  EXPECT_DATA_ERROR("under \"step\", found null", load_checkpoint(path(), made_.decomposition, made_.step));
}

TEST_F(CheckpointOfThreeSteps, WeightsAloneCannotBeResumedFrom) {
  std::filesystem::remove(path() / checkpoint_state_file);
  EXPECT_DATA_ERROR("initialize_from", load_checkpoint(path(), made_.decomposition, made_.step));
}

}  // namespace
}  // namespace vpd
