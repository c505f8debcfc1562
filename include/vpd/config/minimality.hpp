#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <vpd/config/schedule.hpp>
#include <vpd/config/term.hpp>

// Terms of the causal importances alone. g: an upper-leaky causal importance; B T: the positions of a batch.

namespace vpd {

// sum over subcomponents of mean (g_upper + eps)^p.
struct ImportanceMinimalityTerm {
  static constexpr std::string_view kind = "importance_minimality";
  static constexpr std::string_view summary = "sum over subcomponents of the mean of (g + eps)^p";
  std::optional<std::string> name;
  Coefficient coefficient;
  Annealed p = {2.0, 0.4};
  double eps = 1e-12;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("p", "exponent, a number or {start, end}").more_than(0), self.p);
    visit(config::field("eps", "added to each causal importance").more_than(0), self.eps);
  }
  bool operator==(const ImportanceMinimalityTerm&) const = default;
};

// sum over subcomponents of mean * log2(1 + sum) of the same (g_upper + eps)^p.
struct FrequencyMinimalityTerm {
  static constexpr std::string_view kind = "frequency_minimality";
  static constexpr std::string_view summary =
      "sum over subcomponents of mean(s) * log2(1 + sum(s)), s = (g + eps)^p";
  std::optional<std::string> name;
  Coefficient coefficient;
  std::optional<Annealed> p;
  std::optional<double> eps;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("p", "exponent; null: that of importance_minimality").more_than(0), self.p);
    visit(config::field("eps", "added to each causal importance; null: that of importance_minimality")
              .more_than(0),
          self.eps);
  }
  bool operator==(const FrequencyMinimalityTerm&) const = default;
};

}  // namespace vpd
