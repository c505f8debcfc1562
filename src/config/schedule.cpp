#include "vpd/config/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> Schedule::validate() const {
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

std::optional<double> Schedule::as_number() const {
  return *this == from_number(start) ? std::optional(start) : std::nullopt;
}

Annealed Annealed::from_number(double number) { return {number, number}; }

std::optional<double> Annealed::as_number() const {
  return start == end ? std::optional(start) : std::nullopt;
}

double value_at(const Schedule& schedule, std::int64_t step, std::int64_t total_steps) {
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
