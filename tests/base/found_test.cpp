#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <vpd/base/found.hpp>

#include "io/support.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using testing::contains;

class Found : public ::testing::Test {
 protected:
  Found() {
    fs::create_directories(directory / "open/locked/inside");
    std::ofstream(directory / "file") << "x";
    ::chmod(directory.path().c_str(), 0755);
    ::chmod((directory / "open/locked").c_str(), 0600);
  }
  ~Found() override { ::chmod((directory / "open/locked").c_str(), 0700); }

  testing::TemporaryDirectory directory;
};

TEST_F(Found, NothingIsNothing) {
  EXPECT_EQ(found_instead(directory / "absent/deep", "none"), "none");
  EXPECT_EQ(found_instead(directory / "file/below", "none"), "none");
  EXPECT_EQ(found_instead("", "none"), "none");
}

TEST_F(Found, ALockedDirectoryIsNamed) {
  const testing::Unprivileged unprivileged;
  const std::string expected =
      "that " + (directory / "open/locked").string() + " may not be entered (Permission denied): ask";
  for (const char* path :
       {"open/locked/inside", "open/locked/inside/deep", "open/locked/absent.bin", "open/../open/locked/./x"})
    EXPECT_TRUE(found_instead(directory / path, "none").starts_with(expected)) << path;
  fs::current_path(directory / "open");
  EXPECT_TRUE(found_instead("locked/inside", "none").starts_with(expected));
  fs::current_path("/");
}

TEST_F(Found, ALinkThatLeadsNowhere) {
  fs::create_symlink("gone", directory / "link");
  EXPECT_EQ(found_instead(directory / "link", "none"), "a link to gone, where nothing is");
}

TEST_F(Found, WhatTheSystemRefusesOtherwise) {
  fs::create_symlink("loop", directory / "loop");
  EXPECT_TRUE(contains(found_instead(directory / "loop", "none"), "cannot be looked at ("));
  EXPECT_TRUE(contains(found_instead(std::string(300, 'x'), "none"), "cannot be looked at ("));
}

}  // namespace
}  // namespace vpd
