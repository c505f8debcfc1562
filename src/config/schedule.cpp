#include "vpd/config/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <spdlog/fmt/fmt.h>

namespace vpd {

namespace {

/// Of each of them, and of those before.
std::optional<config::Complaint> validate_points(const std::vector<std::vector<double>>& points) {
  double before = 0.0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::vector<double>& point = points[i];
    const bool fine = point.size() == 2 && point[0] >= before && point[0] <= 1.0 && point[1] >= 0.0 &&
                      std::isfinite(point[1]);
    if (!fine) {
      return config::Complaint{fmt::format("points[{}]", i),
                               fmt::format("expected [fraction, value], a fraction from {:g} to 1 and a "
                                           "value of at least 0, found [{}]",
                                           before, fmt::join(point, ", "))};
    }
    before = point[0];
  }
  return std::nullopt;
}

double value_on(const std::vector<std::vector<double>>& points, double fraction) {
  if (fraction <= points.front()[0]) return points.front()[1];
  for (std::size_t i = 1; i < points.size(); ++i) {
    const double from = points[i - 1][0], to = points[i][0];
    if (fraction >= to) continue;
    return points[i - 1][1] + (points[i][1] - points[i - 1][1]) * (fraction - from) / (to - from);
  }
  return points.back()[1];
}

}  // namespace

std::optional<config::Complaint> Schedule::validate() const {
  if (!points.empty()) {
    const Schedule alone{.points = points};
    if (*this != alone) {
      return config::Complaint{"points", "expected no other field beside points, found some"};
    }
    return validate_points(points);
  }
  if (start == 0.0 && *this != Schedule{}) {
    return config::Complaint{"start", "expected a number other than 0 in a map without points, found 0"};
  }
  if (warmup_steps && warmup_fraction != 0.0) {
    return config::Complaint{"warmup_steps", "expected one of warmup_fraction and warmup_steps, found both"};
  }
  const bool is_constant = schedule == ScheduleShape::constant;
  if (!is_constant && !final_fraction) {
    return config::Complaint{
        "final_fraction", "expected a number of at least 0 for a schedule that is not constant, found none"};
  }
  if (is_constant && final_fraction && *final_fraction != 1.0) {
    return config::Complaint{"final_fraction",
                             fmt::format("expected none or 1 for a constant schedule, found {:g} (it "
                                         "belongs to linear and cosine)",
                                         *final_fraction)};
  }
  return std::nullopt;
}

Schedule Schedule::from_number(double number) { return {.start = number}; }

double Schedule::largest() const {
  double value = std::max(start, start * final_fraction.value_or(1.0));
  for (const std::vector<double>& point : points) value = std::max(value, point[1]);
  return value;
}

std::optional<double> Schedule::as_number() const {
  return *this == from_number(start) ? std::optional(start) : std::nullopt;
}

Annealed Annealed::from_number(double number) { return {number, number}; }

std::optional<double> Annealed::as_number() const {
  return start == end ? std::optional(start) : std::nullopt;
}

bool sleeps_at(const Coefficient& coefficient, std::int64_t step, std::int64_t total_steps) {
  return !coefficient.points.empty() && value_at(coefficient, step, total_steps) == 0.0;
}

std::int64_t steps_awake(const Coefficient& coefficient, std::int64_t steps, std::int64_t total_steps) {
  if (coefficient.points.empty()) return steps;
  std::int64_t awake = 0;
  for (std::int64_t step = 0; step < steps; ++step)
    awake += sleeps_at(coefficient, step, total_steps) ? 0 : 1;
  return awake;
}

double value_at(const Schedule& schedule, std::int64_t step, std::int64_t total_steps) {
  if (!schedule.points.empty()) {
    const double steps = static_cast<double>(std::max(total_steps, std::int64_t{1}));
    return value_on(schedule.points, static_cast<double>(step) / steps);
  }
  const std::int64_t warmup =
      schedule.warmup_steps ? *schedule.warmup_steps
                            : static_cast<std::int64_t>(
                                  std::floor(schedule.warmup_fraction * static_cast<double>(total_steps)));
  if (step < warmup) return schedule.start * static_cast<double>(step) / static_cast<double>(warmup);
  if (schedule.schedule == ScheduleShape::constant || total_steps - warmup <= 1) return schedule.start;

  const double final = schedule.start * schedule.final_fraction.value_or(1.0);
  const double progress =
      std::min(static_cast<double>(step - warmup) / static_cast<double>(total_steps - warmup - 1), 1.0);
  if (schedule.schedule == ScheduleShape::linear) return final + (schedule.start - final) * (1.0 - progress);
  return final + 0.5 * (schedule.start - final) * (1.0 + std::cos(std::numbers::pi * progress));
}

double value_at(const Annealed& annealed, std::int64_t step, std::int64_t total_steps) {
  if (total_steps <= 0) return annealed.start;
  const double length = annealed.fraction * static_cast<double>(total_steps);
  const double progress = std::max(static_cast<double>(step) / length, 0.0);
  if (progress >= 1.0) return annealed.end;
  return annealed.start + (annealed.end - annealed.start) * progress;
}

}  // namespace vpd
