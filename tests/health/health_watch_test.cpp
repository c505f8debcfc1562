#include "health/health_watch.hpp"

#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

namespace vpd {
namespace {

HealthSubject subject(std::int64_t steps) {
  return {.steps = steps,
          .sites = {"a", "b"},
          .subcomponents = 20,
          .annealing = HealthSubject::Annealing{"p", {2.0, 0.4}}};
}

/// Steps at which a run of no importances at all, every `every`-th of whose steps is logged, is warned about
/// `cause`.
std::vector<std::int64_t> warned(const std::string& cause, std::int64_t steps, std::int64_t every) {
  HealthWatch watch(subject(steps), {});
  std::vector<std::int64_t> at;
  for (std::int64_t s = 0; s < steps; s += every) {
    for (const std::string& sentence : watch.take(s, {{"train/loss/total", 1.0}, {"train/l0", 0.0}})) {
      if (sentence.starts_with("health: " + cause + ": ")) at.push_back(s);
    }
  }
  return at;
}

TEST(HealthWatch, WarnsOnceInATenthOfTheRun) {
  EXPECT_EQ(warned("ci_collapse", 1000, 10),
            (std::vector<std::int64_t>{20, 120, 220, 320, 420, 520, 620, 720, 820, 920}));
  EXPECT_EQ(warned("ci_collapse", 5, 1), (std::vector<std::int64_t>{2, 3, 4}));
}

TEST(HealthWatch, ASentenceHasEvidenceAndRemedy) {
  HealthWatch watch(subject(10), {});
  std::vector<std::string> sentences;
  for (std::int64_t s = 0; s < 4; ++s) {
    for (const std::string& one : watch.take(s, {{"train/loss/total", 1.0}, {"train/l0", 0.0}}))
      sentences.push_back(one);
  }
  ASSERT_FALSE(sentences.empty());
  EXPECT_NE(sentences[0].find("L0 is 0 a position over 2 sites; lower the coefficients"), std::string::npos)
      << sentences[0];
}

TEST(HealthWatch, ARunThatGoesOnIsNotCalledUnderTrained) {
  HealthWatch watch(subject(100), {});
  std::vector<std::string> sentences;
  for (std::int64_t s = 0; s < 100; ++s) {
    const double l0 = 20.0 - 0.19 * static_cast<double>(s);
    for (const std::string& one : watch.take(s, {{"train/loss/total", 1.0}, {"train/l0", l0}})) {
      if (one.starts_with("health: under_training")) sentences.push_back(fmt::format("{}: {}", s, one));
    }
  }
  ASSERT_EQ(sentences.size(), 1U);
  EXPECT_TRUE(sentences[0].starts_with("99: ")) << sentences[0];
}

TEST(HealthWatch, WhatAResumedRunMeasuredBeforeCounts) {
  MetricsSeries before;
  for (std::int64_t s = 0; s < 50; ++s) before.add(s, {{"train/loss/total", 1.0}, {"train/l0", 0.0}});
  HealthWatch watch(subject(100), before);
  EXPECT_FALSE(watch.take(50, {{"train/loss/total", 1.0}, {"train/l0", 0.0}}).empty());
}

TEST(HealthWatch, LooksAThousandTimesARunAtMost) {
  HealthWatch watch(subject(10'000), {});
  std::int64_t sentences = 0;
  // Nothing is said at steps in between, even though the cause would be due anew.
  for (std::int64_t s = 0; s < 9; ++s)
    sentences +=
        static_cast<std::int64_t>(watch.take(s, {{"train/loss/total", 1.0}, {"train/l0", 0.0}}).size());
  EXPECT_EQ(sentences, 0);
  EXPECT_EQ(watch.take(9, {{"train/loss/total", 1.0}, {"train/l0", 0.0}}).size(), 1U);
}

}  // namespace
}  // namespace vpd
