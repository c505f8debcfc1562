#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "vpd/config/field.hpp"

// Numbers that may change while a run goes on. In a file each is a bare number, or a map.

namespace vpd {

enum class ScheduleShape { constant, linear, cosine };

constexpr std::array<config::EnumName<ScheduleShape>, 3> config_names(ScheduleShape) {
  return {{{ScheduleShape::constant, "constant"},
           {ScheduleShape::linear, "linear"},
           {ScheduleShape::cosine, "cosine"}}};
}

// A linear warm-up from 0, then `start`, or a way down from `start` to `start * final_fraction`; or a line
// through points.
struct Schedule {
  static constexpr std::string_view name = "schedule";
  static constexpr std::string_view summary =
      "a number that stays, or a map: linear warm-up from 0 to `start`, then constant, or to "
      "`start * final_fraction` along a line or half a cosine; or `points` alone, joined by lines";

  double start = 0.0;
  ScheduleShape schedule = ScheduleShape::constant;
  std::optional<double> final_fraction = std::nullopt;  // a constant one has none
  double warmup_fraction = 0.0;
  std::optional<std::int64_t> warmup_steps = std::nullopt;
  std::vector<std::vector<double>> points = {};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("start", "value after the warm-up; every map without points needs it"), self.start);
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
    visit(field("points",
                "[[fraction of the run, value], ...], in order: lines between them, the first value before "
                "and the last one behind; in place of all other fields. A term of the objective is left out "
                "of a step, and costs nothing, while its points give it a coefficient of 0"),
          self.points);
  }

  std::optional<config::Complaint> validate() const;
  static Schedule from_number(double number);
  std::optional<double> as_number() const;  // set when the schedule is no more than a number
  double largest() const;                   // value that it ever has; 0: it is 0 all along

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
// and with points the line between those around step / total_steps.
double value_at(const Schedule& schedule, std::int64_t step, std::int64_t total_steps);

// Whether a term with this coefficient is left out of a step: while points give it 0.
bool sleeps_at(const Coefficient& coefficient, std::int64_t step, std::int64_t total_steps);
// Of steps 0 to `steps` - 1, those in which it is not.
std::int64_t steps_awake(const Coefficient& coefficient, std::int64_t steps, std::int64_t total_steps);

// start + (end - start) * min(step / (fraction * total_steps), 1); `start` for a run of no steps.
double value_at(const Annealed& annealed, std::int64_t step, std::int64_t total_steps);

}  // namespace vpd
