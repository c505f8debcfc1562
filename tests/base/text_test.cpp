#include "vpd/base/text.hpp"

#include <gtest/gtest.h>

namespace vpd {
namespace {

TEST(Nearest, FindsMisspeltNames) {
  const std::vector<std::string> keys = {"steps", "batch_size", "learning_rate", "coefficient", "C"};
  EXPECT_EQ(nearest("step", keys), "steps");
  EXPECT_EQ(nearest("stpes", keys), "steps");
  EXPECT_EQ(nearest("batchsize", keys), "batch_size");
  EXPECT_EQ(nearest("Learning_Rate", keys), "learning_rate");
  EXPECT_EQ(nearest("c", keys), "C");
}

TEST(Nearest, TakesABeginningForItsWord) {
  EXPECT_EQ(nearest("coef", {"steps", "coefficient"}), "coefficient");
  EXPECT_EQ(nearest("learn", {"steps", "learning_rate"}), "learning_rate");
}

TEST(Nearest, PrefersTheFewestEdits) { EXPECT_EQ(nearest("betta1", {"beta2", "beta1", "eps"}), "beta1"); }

TEST(Nearest, SaysNothingAboutStrangers) {
  EXPECT_EQ(nearest("momentum", {"steps", "batch_size"}), std::nullopt);
  EXPECT_EQ(nearest("lrx", {"eps", "p"}), std::nullopt);
  EXPECT_EQ(nearest("steps", {}), std::nullopt);
}

TEST(HumanBytes, UsesPowersOf1024) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1024), "1 KiB");
  EXPECT_EQ(human_bytes(3.2 * 1024 * 1024 * 1024), "3.2 GiB");
  EXPECT_EQ(human_bytes(1023.9), "1 KiB");
  EXPECT_EQ(human_bytes(16.0 * 1024 * 1024), "16 MiB");
}

TEST(HumanCount, KeepsThreeDigits) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1390000), "1.39 M");
  EXPECT_EQ(human_count(38912), "38.9 k");
  EXPECT_EQ(human_count(999999), "1 M");
  EXPECT_EQ(human_count(28e6), "28 M");
  EXPECT_EQ(human_count(100e9), "100 G");
}

TEST(HumanDuration, PicksTheUnit) {
  EXPECT_EQ(human_duration(0.0125), "12.5 ms");
  EXPECT_EQ(human_duration(1), "1 s");
  EXPECT_EQ(human_duration(12.34), "12.3 s");
  EXPECT_EQ(human_duration(59.99), "1 min 0 s");
  EXPECT_EQ(human_duration(252), "4 min 12 s");
  EXPECT_EQ(human_duration(7500), "2 h 5 min");
  EXPECT_EQ(human_duration(273600), "3 d 4 h");
}

TEST(JoinWords, SeparatesThem) {
  EXPECT_EQ(join_words({}), "");
  EXPECT_EQ(join_words({"a"}), "a");
  EXPECT_EQ(join_words({"a", "b"}), "a, b");
  EXPECT_EQ(join_words({"a", "b"}, " and "), "a and b");
}

}  // namespace
}  // namespace vpd
