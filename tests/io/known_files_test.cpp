#include "vpd/io/known_files.hpp"

#include <chrono>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "support.hpp"
#include "vpd/io/files.hpp"
#include "vpd/io/sha256.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::count_entries;
using testing::TemporaryDirectory;

class KnownFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("XDG_CACHE_HOME", (directory_ / "cache").c_str(), 1);
    write(std::string(2 << 20, 'a'));
  }
  void TearDown() override {
    before_ ? ::setenv("XDG_CACHE_HOME", before_->c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
    ::unsetenv("VPD_NO_CACHE");
  }

  /// And waits until its times tell it from one that is changed later.
  void write(const std::string& content) {
    write_atomically(file_, content);
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
  }
  KnownFile remember(const KnownFile& known) {
    return read_and_remember(file_, [&] {
      ++reads_;
      return known;
    });
  }

  TemporaryDirectory directory_;
  fs::path file_ = directory_ / "tokens.bin";
  int reads_ = 0;

 private:
  std::optional<std::string> before_ = std::getenv("XDG_CACHE_HOME")
                                           ? std::optional<std::string>(std::getenv("XDG_CACHE_HOME"))
                                           : std::nullopt;
};

TEST_F(KnownFiles, KeepWhatWasFound) {
  EXPECT_FALSE(known_file(file_).sha256);
  const std::string hash = known_sha256(file_);
  EXPECT_EQ(hash, sha256_of_file(file_));
  EXPECT_EQ(known_file(file_).sha256, hash);
  remember({.sha256 = {}, .tokens = TokenRange{-1, 50'256}});
  ASSERT_TRUE(known_file(file_).tokens);
  EXPECT_EQ(known_file(file_).tokens->smallest, -1);
  EXPECT_EQ(known_file(file_).tokens->largest, 50'256);
  EXPECT_EQ(known_file(file_).sha256, hash) << "the rest stays";
  fs::create_symlink(file_, directory_ / "link");
  EXPECT_EQ(known_file(directory_ / "link").sha256, hash);
}

TEST_F(KnownFiles, AreReadAgainAfterAChange) {
  const std::string first = known_sha256(file_);
  write(std::string(2 << 20, 'b'));  // another inode, the same size
  EXPECT_FALSE(known_file(file_).sha256);
  EXPECT_NE(known_sha256(file_), first);

  const std::string second = known_sha256(file_);
  const auto time = fs::last_write_time(file_);
  FILE* file = std::fopen(file_.c_str(), "r+b");
  ASSERT_TRUE(file);
  std::fputc('c', file);
  std::fclose(file);
  fs::last_write_time(file_, time);  // even where the time of modification is put back
  EXPECT_FALSE(known_file(file_).sha256);
  EXPECT_NE(known_sha256(file_), second);
}

TEST_F(KnownFiles, OfAMomentAgoAreNotTrusted) {
  write_atomically(file_, std::string(2 << 20, 'd'));
  known_sha256(file_);
  EXPECT_FALSE(known_file(file_).sha256) << "a change within the clock's step would not show";
}

TEST_F(KnownFiles, ChangedWhileTheyAreReadAreNotKept) {
  read_and_remember(file_, [&] {
    write_atomically(file_, std::string(2 << 20, 'e'));
    return KnownFile{.sha256 = std::string("of what is gone"), .tokens = {}};
  });
  EXPECT_FALSE(known_file(file_).sha256);
}

TEST_F(KnownFiles, AreJustReadWhereNothingCanBeKept) {
  write_atomically(directory_ / "cache", "a file in the way");
  EXPECT_EQ(known_sha256(file_), sha256_of_file(file_));
  EXPECT_FALSE(known_file(file_).sha256);
  fs::remove(directory_ / "cache");
  ::setenv("VPD_NO_CACHE", "1", 1);
  known_sha256(file_);
  EXPECT_FALSE(fs::exists(directory_ / "cache"));
  ::unsetenv("VPD_NO_CACHE");
  known_sha256(file_);
  for (const auto& entry : fs::directory_iterator(directory_ / "cache/vpd"))
    write_atomically(entry.path(), "{damaged");
  EXPECT_FALSE(known_file(file_).sha256);
  EXPECT_EQ(known_sha256(file_), sha256_of_file(file_));
}

TEST_F(KnownFiles, SmallOnesAreNotWorthIt) {
  write("small");
  EXPECT_EQ(known_sha256(file_), sha256_of_file(file_));
  EXPECT_FALSE(fs::exists(directory_ / "cache"));
  EXPECT_THROW(known_sha256(directory_ / "absent"), DataError);
}

}  // namespace
}  // namespace vpd
