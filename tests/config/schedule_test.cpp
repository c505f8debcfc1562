#include "vpd/config/schedule.hpp"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

namespace vpd {
namespace {

TEST(Schedule, AConstantStays) {
  for (const std::int64_t step : {0, 1, 99, 1000}) EXPECT_EQ(value_at(Schedule{0.25}, step, 100), 0.25);
  EXPECT_EQ(value_at(Schedule{0.25}, 0, 0), 0.25);
}

TEST(Schedule, WarmUpIsALineFromZeroOverTheFlooredFraction) {
  const Schedule schedule = {.start = 0.05, .warmup_fraction = 0.25};
  // floor(0.25 * 10) = 2 steps
  EXPECT_EQ(value_at(schedule, 0, 10), 0.0);
  EXPECT_EQ(value_at(schedule, 1, 10), 0.05 * 1 / 2);
  EXPECT_EQ(value_at(schedule, 2, 10), 0.05);
  EXPECT_EQ(value_at(schedule, 9, 10), 0.05);
  EXPECT_EQ(value_at(schedule, 0, 3), 0.05) << "a fraction of a step is none";
}

TEST(Schedule, WarmUpStepsAreTakenAsTheyStand) {
  const Schedule schedule = {.start = 3.0, .warmup_steps = 600};
  EXPECT_EQ(value_at(schedule, 0, 1000), 0.0);
  EXPECT_EQ(value_at(schedule, 200, 1000), 1.0);
  EXPECT_EQ(value_at(schedule, 600, 1000), 3.0);
}

TEST(Schedule, CosineEndsAtItsFinalFractionAtTheLastStep) {
  const Schedule schedule = {.start = 2.0, .schedule = ScheduleShape::cosine, .final_fraction = 0.1};
  EXPECT_DOUBLE_EQ(value_at(schedule, 0, 11), 2.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 5, 11), 1.1);
  EXPECT_DOUBLE_EQ(value_at(schedule, 3, 11), 0.2 + 0.5 * 1.8 * (1 + std::cos(std::numbers::pi * 0.3)));
  EXPECT_DOUBLE_EQ(value_at(schedule, 10, 11), 0.2);
  EXPECT_DOUBLE_EQ(value_at(schedule, 50, 11), 0.2);
}

TEST(Schedule, CosineAfterAWarmUp) {
  const Schedule schedule = {
      .start = 1.0, .schedule = ScheduleShape::cosine, .final_fraction = 0.0, .warmup_fraction = 0.2};
  EXPECT_DOUBLE_EQ(value_at(schedule, 1, 10), 0.5);
  EXPECT_DOUBLE_EQ(value_at(schedule, 2, 10), 1.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 4, 10), 0.5 * (1 + std::cos(std::numbers::pi * 2.0 / 7.0)));
  EXPECT_NEAR(value_at(schedule, 9, 10), 0.0, 1e-15);
}

TEST(Schedule, CosineOfOneStepIsItsStart) {
  const Schedule schedule = {.start = 2.0, .schedule = ScheduleShape::cosine, .final_fraction = 0.1};
  EXPECT_EQ(value_at(schedule, 0, 1), 2.0);
  EXPECT_EQ(value_at(schedule, 0, 0), 2.0);
  const Schedule warm = {
      .start = 2.0, .schedule = ScheduleShape::cosine, .final_fraction = 0.1, .warmup_steps = 4};
  EXPECT_EQ(value_at(warm, 4, 5), 2.0);
}

TEST(Schedule, LinearIsALine) {
  const Schedule schedule = {.start = 2.0, .schedule = ScheduleShape::linear, .final_fraction = 0.5};
  EXPECT_DOUBLE_EQ(value_at(schedule, 0, 5), 2.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 1, 5), 1.75);
  EXPECT_DOUBLE_EQ(value_at(schedule, 4, 5), 1.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 9, 5), 1.0);
}

TEST(Annealed, MovesOverTheWholeRun) {
  const Annealed p = {2.0, 0.4};
  EXPECT_EQ(value_at(p, 0, 10), 2.0);
  EXPECT_DOUBLE_EQ(value_at(p, 5, 10), 1.2);
  EXPECT_DOUBLE_EQ(value_at(p, 9, 10), 2.0 - 1.6 * 0.9);
  EXPECT_DOUBLE_EQ(value_at(p, 10, 10), 0.4);
  EXPECT_DOUBLE_EQ(value_at(p, 20, 10), 0.4);
  EXPECT_EQ(value_at(p, 0, 0), 2.0);
}

TEST(Annealed, MayStayAtItsEndForTheRestOfTheRun) {
  const Annealed gamma = {1.0, 0.01, 0.9};
  EXPECT_EQ(value_at(gamma, 0, 100), 1.0);
  EXPECT_DOUBLE_EQ(value_at(gamma, 45, 100), 0.505);
  EXPECT_DOUBLE_EQ(value_at(gamma, 90, 100), 0.01);
  EXPECT_DOUBLE_EQ(value_at(gamma, 99, 100), 0.01);
}

TEST(Schedule, IsANumberOnlyWhenNothingElseIsSaid) {
  EXPECT_EQ(Schedule::from_number(0.5).as_number(), 0.5);
  EXPECT_EQ((Schedule{.start = 0.5, .warmup_fraction = 0.1}.as_number()), std::nullopt);
  EXPECT_EQ((Annealed{0.5, 0.5}.as_number()), 0.5);
  EXPECT_EQ((Annealed{2.0, 0.4}.as_number()), std::nullopt);
}

TEST(Schedule, PointsAreJoinedByLines) {
  const Schedule schedule = {.points = {{0.0, 0.0}, {0.2, 0.0}, {0.4, 4.0}, {0.4, 2.0}, {1.0, 1.0}}};
  EXPECT_FALSE(schedule.validate());
  EXPECT_EQ(value_at(schedule, 0, 10), 0.0);
  EXPECT_EQ(value_at(schedule, 2, 10), 0.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 3, 10), 2.0);
  EXPECT_DOUBLE_EQ(value_at(schedule, 4, 10), 2.0) << "behind a jump";
  EXPECT_DOUBLE_EQ(value_at(schedule, 7, 10), 1.5);
  EXPECT_EQ(value_at(schedule, 10, 10), 1.0);
  EXPECT_EQ(value_at(Schedule{.points = {{0.5, 3.0}}}, 0, 10), 3.0);
  EXPECT_EQ(schedule.largest(), 4.0);
  EXPECT_EQ(schedule.as_number(), std::nullopt);
}

TEST(Schedule, ATermSleepsWhilePointsGiveItNothing) {
  const Schedule later = {.points = {{0.2, 0.0}, {1.0, 1.0}}};
  EXPECT_TRUE(sleeps_at(later, 0, 10));
  EXPECT_TRUE(sleeps_at(later, 2, 10));
  EXPECT_FALSE(sleeps_at(later, 3, 10));
  EXPECT_EQ(steps_awake(later, 2, 10), 0);
  EXPECT_EQ(steps_awake(later, 6, 10), 3);
  EXPECT_FALSE(sleeps_at(Schedule{}, 0, 10)) << "a coefficient of 0 only measures";
  EXPECT_EQ(steps_awake(Schedule{}, 6, 10), 6);
}

TEST(Schedule, PointsStandAloneAndInOrder) {
  const auto complaint = [](const Schedule& schedule) {
    const auto found = schedule.validate();
    return found ? found->where : std::string();
  };
  EXPECT_EQ(complaint({.start = 1.0, .points = {{0.0, 1.0}}}), "points");
  EXPECT_EQ(complaint({.points = {{0.5, 1.0}, {0.2, 1.0}}}), "points[1]");
  EXPECT_EQ(complaint({.points = {{0.5, 1.0}, {1.2, 1.0}}}), "points[1]");
  EXPECT_EQ(complaint({.points = {{0.5, -1.0}}}), "points[0]");
  EXPECT_EQ(complaint({.points = {{0.5}}}), "points[0]");
  EXPECT_EQ(complaint({.schedule = ScheduleShape::linear, .final_fraction = 0.1}), "start");
}

}  // namespace
}  // namespace vpd
