#include "vpd/io/run_directory.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "support.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::count_entries;
using testing::TemporaryDirectory;

std::vector<std::int64_t> steps_of(const RunDirectory& run) {
  std::vector<std::int64_t> steps;
  for (const Checkpoint& checkpoint : run.checkpoints()) steps.push_back(checkpoint.step);
  return steps;
}

std::function<void(const fs::path&)> content(const std::string& text) {
  return [text](const fs::path& directory) { write_atomically(directory / "weights", text); };
}

class RunDirectories : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "runs/first";
};

TEST_F(RunDirectories, CreatesParentsAndAcceptsAnEmptyDirectory) {
  const RunDirectory run = RunDirectory::create(path_);
  EXPECT_TRUE(fs::is_directory(path_ / "checkpoints"));
  EXPECT_EQ(run.config_path(), path_ / "config.yaml");
  EXPECT_EQ(run.checkpoint_path(5000), path_ / "checkpoints/step_00005000");
  EXPECT_EQ(run.checkpoint_path(1234567890), path_ / "checkpoints/step_1234567890");
  EXPECT_FALSE(run.latest());
  fs::create_directory(directory_ / "empty");
  EXPECT_NO_THROW(RunDirectory::create(directory_ / "empty"));
}

TEST_F(RunDirectories, RefusesWhatIsThereAlready) {
  const RunDirectory begun = RunDirectory::create(path_);
  EXPECT_NO_THROW(RunDirectory::create(path_)) << "nothing was written to it yet";
  write_atomically(begun.log_path(), "");
  write_atomically(begun.status_path(), "{}");
  fs::create_directory(path_ / "lost+found");
  EXPECT_NO_THROW(RunDirectory::create(path_)) << "a run that was killed before it began";
  write_atomically(begun.config_path(), "");
  EXPECT_DATA_ERROR(
      path_.string() + " already exists and is not empty: choose another --out or resume with --resume",
      RunDirectory::create(path_));
  write_atomically(directory_ / "file", "x");
  EXPECT_DATA_ERROR("file: expected a new directory for the run, found a file",
                    RunDirectory::create(directory_ / "file"));
  EXPECT_DATA_ERROR("cannot create the directory: Not a directory",
                    RunDirectory::create(directory_ / "file/below"));
  EXPECT_DATA_ERROR("found nothing of that name", RunDirectory::open(directory_ / "absent"));
  EXPECT_DATA_ERROR("file: expected the directory of a run, found a file",
                    RunDirectory::open(directory_ / "file"));
}

TEST_F(RunDirectories, RefusesWhereItMayNotWrite) {
  fs::permissions(directory_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  {
    const testing::Unprivileged nobody;
    EXPECT_DATA_ERROR("cannot create the directory: Permission denied", RunDirectory::create(path_));
  }
  fs::permissions(directory_.path(), fs::perms::owner_all);
}

TEST_F(RunDirectories, PublishesPrunesAndMovesTheLink) {
  const RunDirectory run = RunDirectory::create(path_);
  for (const std::int64_t step : {10, 20, 30, 100'000'000}) {
    run.publish_checkpoint(step, content(std::to_string(step)), 3);
    ASSERT_TRUE(run.latest());
    EXPECT_EQ(run.latest()->step, step);
    EXPECT_EQ(read_text(path_ / "checkpoints/latest/weights"), std::to_string(step));
  }
  EXPECT_EQ(steps_of(run), (std::vector<std::int64_t>{20, 30, 100'000'000}));
  EXPECT_EQ(count_entries(path_ / "checkpoints"), 4u);
  EXPECT_EQ(steps_of(RunDirectory::open(path_)), steps_of(run));
}

TEST_F(RunDirectories, NeverPrunesWhatItJustWrote) {
  const RunDirectory run = RunDirectory::create(path_);
  for (const std::int64_t step : {10, 20, 30}) run.publish_checkpoint(step, content("x"), 3);
  run.publish_checkpoint(5, content("x"), 2);  // a run that was resumed further back
  EXPECT_EQ(steps_of(run), (std::vector<std::int64_t>{5, 20, 30}));
  EXPECT_EQ(run.latest()->step, 5);
  EXPECT_THROW(run.publish_checkpoint(40, content("x"), 0), UsageError);
  EXPECT_THROW(run.publish_checkpoint(-1, content("x"), 1), UsageError);
}

TEST_F(RunDirectories, RewritesACheckpointOfTheSameStep) {
  const RunDirectory run = RunDirectory::create(path_);
  run.publish_checkpoint(10, content("first"), 1);
  run.publish_checkpoint(10, content("second"), 1);
  EXPECT_EQ(read_text(run.checkpoint_path(10) / "weights"), "second");
  EXPECT_EQ(count_entries(path_ / "checkpoints"), 2u);
}

TEST_F(RunDirectories, FailedWriterLeavesEverythingAsItWas) {
  const RunDirectory run = RunDirectory::create(path_);
  run.publish_checkpoint(10, content("x"), 1);
  EXPECT_DATA_ERROR("no luck", run.publish_checkpoint(
                                   20,
                                   [](const fs::path& directory) {
                                     write_atomically(directory / "weights", "half");
                                     throw DataError("no luck");
                                   },
                                   1));
  EXPECT_EQ(steps_of(run), (std::vector<std::int64_t>{10}));
  EXPECT_EQ(run.latest()->step, 10);
  EXPECT_EQ(count_entries(path_ / "checkpoints"), 2u);
}

TEST_F(RunDirectories, FullDiskLeavesTheLastCheckpoint) {
  const testing::SmallDisk disk;
  if (!disk.mounted()) GTEST_SKIP() << "NOT TESTED: mounting a small tmpfs needs root";
  const RunDirectory run = RunDirectory::create(disk.path() / "run");
  run.publish_checkpoint(10, content("x"), 1);
  EXPECT_DATA_ERROR("No space left on device",
                    run.publish_checkpoint(20, content(std::string(1 << 20, 'x')), 1));
  EXPECT_EQ(run.latest()->step, 10);
  EXPECT_EQ(count_entries(disk.path() / "run/checkpoints"), 2u);
  run.publish_checkpoint(30, content("y"), 1);
  EXPECT_EQ(run.latest()->step, 30);
}

TEST_F(RunDirectories, OnlyCompleteCheckpointsCount) {
  const RunDirectory run = RunDirectory::create(path_);
  for (const char* name : {".tmp-step_00000030.7", "step_", "step_5", "step_-0000001", "step_00000010x",
                           "step_000000010", "other"}) {
    fs::create_directory(path_ / "checkpoints" / name);
  }
  write_atomically(path_ / "checkpoints/step_00000040", "a file");
  EXPECT_TRUE(run.checkpoints().empty());
  fs::create_directory(path_ / "checkpoints/step_00000020");
  fs::create_directory(path_ / "checkpoints/step_00000005");
  EXPECT_EQ(steps_of(run), (std::vector<std::int64_t>{5, 20}));
}

TEST_F(RunDirectories, LatestFallsBackOnTheHighestStep) {
  const RunDirectory run = RunDirectory::create(path_);
  fs::create_directory(path_ / "checkpoints/step_00000005");
  fs::create_directory(path_ / "checkpoints/step_00000020");
  EXPECT_EQ(run.latest()->step, 20) << "no link";
  replace_symlink(path_ / "checkpoints/latest", "step_00000030");
  EXPECT_EQ(run.latest()->step, 20) << "a link to what is gone";
  replace_symlink(path_ / "checkpoints/latest", "step_00000005");
  EXPECT_EQ(run.latest()->step, 5);
}

TEST_F(RunDirectories, ReadsTheNextOneWhereTheLatestIsRemovedMeanwhile) {
  const RunDirectory run = RunDirectory::create(path_);
  EXPECT_FALSE(run.read_latest([](const Checkpoint&) { FAIL(); }));
  run.publish_checkpoint(10, content("old"), 1);
  std::vector<std::int64_t> read;
  EXPECT_TRUE(run.read_latest([&](const Checkpoint& checkpoint) {
    read.push_back(checkpoint.step);
    if (checkpoint.step == 10) run.publish_checkpoint(20, content("new"), 1);
    EXPECT_EQ(read_text(checkpoint.path / "weights"), "new");
  }));
  EXPECT_EQ(read, (std::vector<std::int64_t>{10, 20}));
  EXPECT_DATA_ERROR("broken", run.read_latest([](const Checkpoint&) { throw DataError("broken"); }));
}

TEST_F(RunDirectories, ADirectoryInTheLinksPlaceStepsAside) {
  const RunDirectory run = RunDirectory::create(path_);
  EXPECT_TRUE(run.publish_checkpoint(10, content("x"), 2).empty());
  fs::remove(path_ / "checkpoints/latest");
  fs::copy(run.checkpoint_path(10), path_ / "checkpoints/latest");
  EXPECT_TRUE(run.publish_checkpoint(20, content("y"), 2).empty());
  EXPECT_EQ(fs::read_symlink(path_ / "checkpoints/latest"), "step_00000020");
  EXPECT_EQ(read_text(path_ / "checkpoints/latest.copy/weights"), "x");
}

TEST_F(RunDirectories, FindsTheCheckpointOfAStepAndSetsLaterOnesAside) {
  const RunDirectory run = RunDirectory::create(path_);
  EXPECT_DATA_ERROR("expected a checkpoint of step 7, found none", run.checkpoint(7));
  for (const std::int64_t step : {10, 20, 30}) run.publish_checkpoint(step, content("x"), 3);
  EXPECT_EQ(run.checkpoint(20).path, run.checkpoint_path(20));
  EXPECT_DATA_ERROR("of step 7, found those of 10, 20, 30", run.checkpoint(7));
  run.set_aside_after(10);
  EXPECT_EQ(steps_of(run), (std::vector<std::int64_t>{10}));
  EXPECT_EQ(run.latest()->step, 10);
  EXPECT_TRUE(fs::exists(path_ / "checkpoints/step_00000030.set_aside/weights"));
}

TEST_F(RunDirectories, ResumingRemovesWhatKilledRunsLeft) {
  RunDirectory::create(path_).publish_checkpoint(10, content("x"), 1);
  fs::create_directories(path_ / "checkpoints/.tmp-step_00000020.1/inner");
  write_atomically(path_ / ".tmp-config.yaml.1", "half");
  EXPECT_EQ(steps_of(RunDirectory::open(path_)), (std::vector<std::int64_t>{10}));
  EXPECT_EQ(count_entries(path_), 2u) << "opening to read changes nothing";
  const RunDirectory run = RunDirectory::open_for_resume(path_);
  EXPECT_EQ(count_entries(path_), 1u);
  EXPECT_EQ(count_entries(path_ / "checkpoints"), 2u);
  EXPECT_EQ(run.latest()->step, 10);
}

// Killed at random moments, a run must always show a latest checkpoint whose content is whole.
TEST_F(RunDirectories, KilledWhilePublishing) {
  RunDirectory::create(path_).publish_checkpoint(0, content(std::string(10'000, '0')), 2);
  std::int64_t last_step = 0;
  for (int round = 0; round < 25; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const RunDirectory run = RunDirectory::open_for_resume(path_);
      for (std::int64_t step = run.latest()->step + 1;; ++step) {
        run.publish_checkpoint(step, content(std::string(10'000, static_cast<char>('0' + step % 10))), 2);
      }
    }
    ::usleep(static_cast<useconds_t>(2000 + 1700 * round));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto latest = RunDirectory::open(path_).latest();
    ASSERT_TRUE(latest);
    EXPECT_GE(latest->step, last_step);
    last_step = latest->step;
    EXPECT_EQ(read_text(latest->path / "weights"),
              std::string(10'000, static_cast<char>('0' + latest->step % 10)));
  }
  EXPECT_GT(last_step, 0) << "no round lived long enough to publish anything";
  const RunDirectory run = RunDirectory::open_for_resume(path_);
  run.publish_checkpoint(last_step + 1, content("x"), 2);
  EXPECT_LE(count_entries(path_ / "checkpoints"), 3u) << "two checkpoints and the link";
}

TEST_F(RunDirectories, VerificationFindsTheFileThatChanged) {
  const RunDirectory run = RunDirectory::create(path_);
  run.publish_checkpoint(
      10,
      [](const fs::path& directory) {
        write_atomically(directory / "a", "A");
        write_atomically(directory / "b", "B");
        write_atomically(directory / "state.json",
                         fmt::format(R"({{"step": 10, "sha256": {{"a": "{}", "b": "{}"}}}})",
                                     sha256_of_file(directory / "a"), sha256_of_file(directory / "b")));
      },
      1);
  const fs::path checkpoint = run.checkpoint_path(10);
  EXPECT_NO_THROW(verify_checkpoint(checkpoint));
  write_atomically(checkpoint / "b", "C");
  EXPECT_DATA_ERROR("b: expected the SHA-256 df7e70e5", verify_checkpoint(checkpoint));
  fs::remove(checkpoint / "b");
  EXPECT_DATA_ERROR("b: cannot open the file", verify_checkpoint(checkpoint));
  for (const char* state : {"", "[]", "{}", R"({"sha256": 3})"}) {
    write_atomically(checkpoint / "state.json", state);
    EXPECT_DATA_ERROR("state.json: expected a JSON object with the hashes", verify_checkpoint(checkpoint));
  }
  for (const char* state : {R"({"sha256": {"a": 3}})", R"({"sha256": {"../a": "00"}})"}) {
    write_atomically(checkpoint / "state.json", state);
    EXPECT_DATA_ERROR("expected names of files beside it", verify_checkpoint(checkpoint));
  }
  fs::remove(checkpoint / "state.json");
  EXPECT_NO_THROW(verify_checkpoint(checkpoint)) << "made elsewhere: weights only";
  EXPECT_DATA_ERROR("found nothing of that name", verify_checkpoint(run.checkpoint_path(11)));
}

}  // namespace
}  // namespace vpd
