#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "vpd/config/schedule.hpp"
#include "vpd/config/term.hpp"

// Terms of the causal importances alone. g is an upper-leaky causal importance; phi(g), the penalty of a
// term, is what it sums: s_c over a batch's B T positions, of mean s_c / (B T).

namespace vpd {

struct PowerPenaltyConfig {
  static constexpr std::string_view kind = "power";
  static constexpr std::string_view summary = "(g + eps)^p, with the term's own p and eps";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const PowerPenaltyConfig&) const = default;
};

struct SmoothL0PenaltyConfig {
  static constexpr std::string_view kind = "smooth_l0";
  static constexpr std::string_view summary =
      "g^2 / (g^2 + gamma^2): flat at 0, 1/2 at gamma, and a count of what is not 0 as gamma shrinks";
  Annealed gamma = {1.0, 0.01, 0.9};
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("gamma", "the importance that counts as half").more_than(0), self.gamma);
  }
  bool operator==(const SmoothL0PenaltyConfig&) const = default;
};

using PenaltyConfig = std::variant<PowerPenaltyConfig, SmoothL0PenaltyConfig>;

// sum over subcomponents of the mean penalty.
struct ImportanceMinimalityTerm {
  static constexpr std::string_view kind = "importance_minimality";
  static constexpr std::string_view summary =
      "sum over subcomponents of the mean penalty, (g + eps)^p unless `penalty` says otherwise";
  std::optional<std::string> name;
  Coefficient coefficient;
  Annealed p = {2.0, 0.4};
  double eps = 1e-12;
  PenaltyConfig penalty = PowerPenaltyConfig{};
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("p", "exponent of penalty power, a number or {start, end}").more_than(0), self.p);
    visit(config::field("eps", "added to each causal importance by penalty power").more_than(0), self.eps);
    visit(config::field("penalty", "what is summed of each causal importance"), self.penalty);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const ImportanceMinimalityTerm&) const = default;
};

// What takes the place of a batch's mean s_c / (B T) in frequency_minimality: a mean over batches too.
struct MovingAverageConfig {
  static constexpr std::string_view summary = "an average over steps whose weights fall off exponentially";
  double decay = 0.99;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("decay", "weight of the average so far against the next batch; 0: the batch alone")
              .at_least(0)
              .less_than(1),
          self.decay);
  }
  bool operator==(const MovingAverageConfig&) const = default;
};

// sum over subcomponents of mean * log2(1 + mean * reference_count) of the same penalty.
struct FrequencyMinimalityTerm {
  static constexpr std::string_view kind = "frequency_minimality";
  static constexpr std::string_view summary =
      "sum over subcomponents of f log2(1 + f R), f the mean penalty and R = `reference_count`";
  std::optional<std::string> name;
  Coefficient coefficient;
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
  bool operator==(const FrequencyMinimalityTerm&) const = default;
};

}  // namespace vpd
