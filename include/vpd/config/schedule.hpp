#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "vpd/config/field.hpp"

// Numbers that may change while a run goes on. In a file each is a bare number, or a map.

namespace vpd {

enum class ScheduleShape { constant, linear, cosine };

constexpr std::array<config::EnumName<ScheduleShape>, 3> config_names(ScheduleShape) {
  return {{{ScheduleShape::constant, "constant"},
           {ScheduleShape::linear, "linear"},
           {ScheduleShape::cosine, "cosine"}}};
}

// A linear warm-up from 0, then `start`, or a way down from `start` to `start * final_fraction`.
struct Schedule {
  static constexpr std::string_view name = "schedule";
  static constexpr std::string_view summary =
      "a number that stays, or a map: linear warm-up from 0 to `start`, then constant, or to "
      "`start * final_fraction` along a line or half a cosine";

  double start = 0.0;
  ScheduleShape schedule = ScheduleShape::constant;
  std::optional<double> final_fraction = std::nullopt;  // a constant one has none
  double warmup_fraction = 0.0;
  std::optional<std::int64_t> warmup_steps = std::nullopt;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("start", "value after the warm-up").required(), self.start);
    visit(field("schedule", "shape after the warm-up"), self.schedule);
    visit(
        field("final_fraction", "value at the last step as a fraction of `start`; linear and cosine need it")
            .at_least(0),
        self.final_fraction);
    visit(field("warmup_fraction", "length of the warm-up as a fraction of all steps, rounded down; 0: none")
              .fraction(),
          self.warmup_fraction);
    visit(field("warmup_steps", "length of the warm-up in steps, in place of `warmup_fraction`").at_least(0),
          self.warmup_steps);
  }

  std::optional<config::Complaint> validate() const;
  static Schedule from_number(double number);
  std::optional<double> as_number() const;  // set when the schedule is no more than a number

  bool operator==(const Schedule&) const = default;
};

using Coefficient = Schedule;

// A value that moves along a line from `start`, at step 0, towards `end`, which a step after the last of that
// part of the run would have, and stays there.
struct Annealed {
  static constexpr std::string_view name = "line";
  static constexpr std::string_view summary =
      "a number that stays, or a map: linear over the run or its first part, start + (end - start) * "
      "min(step / (fraction * steps), 1)";

  double start = 0.0;
  double end = 0.0;
  double fraction = 1.0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("start", "value at step 0").required(), self.start);
    visit(field("end", "value that the step after the last one would have").required(), self.end);
    visit(
        field("fraction", "part of the run over which it moves, after which it stays at `end`; 1: all of it")
            .more_than(0)
            .at_most(1),
        self.fraction);
  }

  static Annealed from_number(double number);
  std::optional<double> as_number() const;

  bool operator==(const Annealed&) const = default;
};

// The value at `step`, counted from 0, of a run of `total_steps` (VPD, section "Training"):
//   step < w:  start * step / w                                   with w warm-up steps
//   cosine:    final + (start - final) / 2 * (1 + cos(pi * progress))
//   linear:    final + (start - final) * (1 - progress)
//   progress = min((step - w) / (total_steps - w - 1), 1);  `start` where total_steps - w <= 1
double value_at(const Schedule& schedule, std::int64_t step, std::int64_t total_steps);

// start + (end - start) * min(step / (fraction * total_steps), 1); `start` for a run of no steps.
double value_at(const Annealed& annealed, std::int64_t step, std::int64_t total_steps);

}  // namespace vpd
