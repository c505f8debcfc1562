#include "vpd/base/path_meaning.hpp"

#include <algorithm>
#include <fstream>

#include <gtest/gtest.h>

#include "io/support.hpp"

namespace vpd {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class PathMeaningTest : public ::testing::Test {
 protected:
  void make(const Names& files) {
    for (const std::string& file : files) {
      fs::create_directories((directory_ / file).parent_path());
      std::ofstream(directory_ / file) << "x";
    }
  }
  PathMeaning meaning(const std::string& path) { return meaning_of(directory_.path() / path); }
  Names names(const std::string& path) {
    Names found;
    for (const fs::path& file : meaning(path).paths)
      found.push_back(fs::relative(file, directory_.path()).string());
    return found;
  }
  std::string here(const std::string& path) { return (directory_ / path).string(); }

  testing::TemporaryDirectory directory_;
};

TEST_F(PathMeaningTest, WhatExistsIsMeantLiterally) {
  make({"data/a.bin", "odd[1]/a.bin", "odd1/a.bin", "odd1/b.bin"});
  EXPECT_EQ(names("data/a.bin"), Names{"data/a.bin"});
  EXPECT_EQ(names("data"), Names{"data"});
  EXPECT_EQ(names("odd[1]"), Names{"odd[1]"});
  EXPECT_EQ(names("odd[1]/a.bin"), Names{"odd[1]/a.bin"});
  EXPECT_FALSE(meaning("odd[1]/a.bin").is_pattern);
}

TEST_F(PathMeaningTest, APatternBelowADirectoryWithCharactersOfPatterns) {
  make({"odd[1]/t_0.bin", "odd[1]/t_1.bin", "odd1/t_0.bin", "odd1/u_0.bin"});
  EXPECT_EQ(names("odd[1]/t_*.bin"), (Names{"odd[1]/t_0.bin", "odd[1]/t_1.bin"}));
  EXPECT_TRUE(meaning("odd[1]/t_*.bin").is_pattern);
  EXPECT_EQ(names("odd[1]/u_*.bin"), Names{}) << "odd1 is not what the path says";
  fs::remove_all(directory_ / "odd[1]");
  EXPECT_EQ(names("odd[1]/t_*.bin"), Names{"odd1/t_0.bin"});
  EXPECT_EQ(names("odd[1]/t_0.bin"), Names{"odd1/t_0.bin"});
}

TEST_F(PathMeaningTest, EachPartIsLiteralWhereItExists) {
  make({"a*b/c/x[0].bin", "aXb/c/x0.bin", "aXb/c/x[0].bin", "aYb/c/x0.bin", "what?/x.bin", "whats/x.bin"});
  EXPECT_EQ(names("a*b/c/x[0].bin"), Names{"a*b/c/x[0].bin"});
  EXPECT_EQ(names("a?b/c/x[0].bin"), (Names{"a*b/c/x[0].bin", "aXb/c/x[0].bin", "aYb/c/x0.bin"}));
  EXPECT_EQ(names("what?/*.bin"), Names{"what?/x.bin"});
}

TEST_F(PathMeaningTest, PatternsAreThoseOfShells) {
  make({"d/a.bin", "d/b.bin", "d/c.npy", "d/e/a.bin", "f/a.bin", "[z].bin"});
  EXPECT_EQ(names("d/*.bin"), (Names{"d/a.bin", "d/b.bin"}));
  EXPECT_EQ(names("d/?.npy"), Names{"d/c.npy"});
  EXPECT_EQ(names("d/[!a].bin"), Names{"d/b.bin"});
  EXPECT_EQ(names("*/a.bin"), (Names{"d/a.bin", "f/a.bin"}));
  EXPECT_EQ(names("d/*/a.bin"), Names{"d/e/a.bin"});
  EXPECT_EQ(names("d/*/"), Names{"d/e"}) << "with a slash at its end a pattern means directories";
  EXPECT_EQ(names("\\[z\\]*"), Names{"[z].bin"});
  EXPECT_EQ(names("none*"), Names{});
  EXPECT_TRUE(meaning("none*").is_pattern);
  EXPECT_FALSE(meaning("none*").obstacle);
  EXPECT_FALSE(meaning("none").is_pattern);
}

TEST_F(PathMeaningTest, RelativePathsBeginAtTheWorkingDirectory) {
  make({"d/a.bin"});
  const fs::path before = fs::current_path();
  fs::current_path(directory_.path());
  EXPECT_EQ(meaning_of("d/*").paths, std::vector<fs::path>{"d/a.bin"});
  EXPECT_EQ(meaning_of("?").paths, std::vector<fs::path>{"d"});
  fs::current_path(before);
}

TEST_F(PathMeaningTest, HiddenNamesAreMeantOnlyByAPatternWithADot) {
  make({"d/a.bin", "d/._a.bin", "d/.tmp-b.bin.12", ".cache/a.bin"});
  EXPECT_EQ(names("d/*"), Names{"d/a.bin"});
  EXPECT_EQ(names("d/?_a.bin"), Names{});
  EXPECT_EQ(names("*/a.bin"), Names{"d/a.bin"});
  EXPECT_EQ(names("d/.*.bin"), Names{"d/._a.bin"});
  EXPECT_EQ(names(".cache/*"), Names{".cache/a.bin"});
  EXPECT_EQ(names("d/._a.bin"), Names{"d/._a.bin"});
  EXPECT_EQ(visible_entries(directory_ / "d"), std::vector<fs::path>{directory_ / "d/a.bin"});
}

TEST_F(PathMeaningTest, EntriesComeInTheOrderOfTheirNames) {
  make({"d/c", "d/a", "d/b"});
  EXPECT_EQ(visible_entries(directory_ / "d"),
            (std::vector<fs::path>{directory_ / "d/a", directory_ / "d/b", directory_ / "d/c"}));
  EXPECT_DATA_ERROR(here("none") + ": cannot list the directory", visible_entries(directory_ / "none"));
}

TEST_F(PathMeaningTest, WhatStandsInTheWayIsSaid) {
  make({"d/a.bin"});
  fs::create_symlink("gone.bin", directory_ / "d/link.bin");
  fs::create_symlink("circle", directory_ / "circle");
  EXPECT_EQ(obstacle(directory_ / "d/a.bin"), std::nullopt);
  EXPECT_EQ(obstacle(directory_ / "d/b.bin"), std::nullopt);
  EXPECT_EQ(obstacle(directory_ / "e/b.bin"), std::nullopt);
  EXPECT_EQ(obstacle(directory_ / "d/a.bin/b"),
            "a file at " + here("d/a.bin") + ", where a directory has to be");
  EXPECT_EQ(obstacle(directory_ / "d/link.bin"),
            "a link at " + here("d/link.bin") + " that leads to nothing (gone.bin)");
  EXPECT_TRUE(obstacle(directory_ / "circle")->starts_with("something at " + here("circle")));
  EXPECT_EQ(meaning("d/link.bin").obstacle, obstacle(directory_ / "d/link.bin"));
  EXPECT_EQ(meaning("d/*/b").obstacle, std::nullopt)
      << "which of all that matches a pattern should be named?";
}

TEST_F(PathMeaningTest, ADirectoryThatMayNotBeReadIsSaidToBe) {
  make({"closed/d/a.bin", "listed/a.bin", "open/a.bin"});
  fs::permissions(directory_.path(), fs::perms(0755));
  fs::permissions(directory_ / "closed", fs::perms(0000));
  fs::permissions(directory_ / "listed", fs::perms(0311));
  const std::string closed = "no permission to look into " + here("closed");
  {
    const testing::Unprivileged nobody;
    for (const char* path :
         {"closed/d/a.bin", "closed/d", "closed/*", "closed/*/a.bin", "closed/d/*.bin", "c*/d/*"}) {
      const PathMeaning found = meaning(path);
      EXPECT_TRUE(found.paths.empty()) << path;
      EXPECT_TRUE(found.obstacle && found.obstacle->starts_with(closed))
          << path << ": " << found.obstacle.value_or("");
    }
    EXPECT_TRUE(obstacle(directory_ / "closed/d/a.bin")->starts_with(closed));
    EXPECT_EQ(names("listed/a.bin"), Names{"listed/a.bin"});
    EXPECT_TRUE(meaning("listed/*").obstacle->starts_with("no permission to look into " + here("listed")));
    EXPECT_EQ(names("*/a.bin"), (Names{"listed/a.bin", "open/a.bin"}));
    EXPECT_DATA_ERROR("check who may read it", visible_entries(directory_ / "listed"));
  }
  fs::permissions(directory_ / "closed", fs::perms(0755));
}

}  // namespace
}  // namespace vpd
