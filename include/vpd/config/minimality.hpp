#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vpd/config/plan.hpp"
#include "vpd/config/term.hpp"

// Terms of the causal importances alone.

namespace vpd {

// sum over subcomponents of the mean penalty.
struct ImportanceMinimalityTerm {
  static constexpr std::string_view kind = "importance_minimality";
  static constexpr bool at_most_once = true;  // of each kind of rows
  static constexpr std::string_view summary =
      "sum over subcomponents of the mean penalty, (g + eps)^p unless `penalty` says otherwise";
  std::optional<std::string> name;
  Coefficient coefficient;
  TermRows rows = TermRows::target;
  Annealed p = {2.0, 0.4};
  double eps = 1e-12;
  PenaltyConfig penalty = PowerPenaltyConfig{};
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::term_rows_field(), self.rows);
    visit(config::field("p", "exponent of penalty power, a number or {start, end}").more_than(0), self.p);
    visit(config::field("eps", "added to each causal importance by penalty power").more_than(0), self.eps);
    visit(config::field("penalty", "what is summed of each causal importance"), self.penalty);
  }
  std::optional<config::Complaint> validate() const;
  MinimalityPlan plan() const { return {.penalty = penalty, .p = p, .eps = eps}; }
  bool operator==(const ImportanceMinimalityTerm&) const = default;
};

// sum over subcomponents of mean * log2(1 + mean * reference_count) of the same penalty.
struct FrequencyMinimalityTerm {
  static constexpr std::string_view kind = "frequency_minimality";
  static constexpr bool at_most_once = true;  // of each kind of rows
  static constexpr std::string_view summary =
      "sum over subcomponents of f log2(1 + f R), f the mean penalty and R = `reference_count`";
  std::optional<std::string> name;
  Coefficient coefficient;
  TermRows rows = TermRows::target;
  std::optional<Annealed> p;
  std::optional<double> eps;
  std::optional<PenaltyConfig> penalty;
  std::optional<double> reference_count;
  std::optional<MovingAverageConfig> moving_average;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::term_rows_field(), self.rows);
    visit(field("p", "exponent; null: that of importance_minimality").more_than(0), self.p);
    visit(field("eps", "added to each causal importance; null: that of importance_minimality").more_than(0),
          self.eps);
    visit(field("penalty", "what is summed of each causal importance; null: as in importance_minimality"),
          self.penalty);
    visit(field("reference_count",
                "R, the number of positions at which a subcomponent's mean is taken to be a count; null: the "
                "batch's own, so that f R is the batch's sum")
              .more_than(0),
          self.reference_count);
    visit(field("moving_average",
                "f is an average over steps, without the bias of its start; null: the "
                "batch's own mean"),
          self.moving_average);
  }
  // What it has none of is that of importance_minimality (plan_of()).
  MinimalityPlan plan() const {
    return {.penalty = penalty,
            .p = p,
            .eps = eps,
            .frequency = true,
            .reference_count = reference_count,
            .moving_average = moving_average};
  }
  bool operator==(const FrequencyMinimalityTerm&) const = default;
};

}  // namespace vpd
