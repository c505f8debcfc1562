#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "vpd/config/plan.hpp"
#include "vpd/config/term.hpp"

// Terms of U and V alone.

namespace vpd {

// ||W - (VU)^T||_F^2 over all sites, divided by the number of entries.
struct FaithfulnessTerm {
  static constexpr std::string_view kind = "faithfulness";
  static constexpr bool at_most_once = true;
  static constexpr std::string_view summary =
      "squared distance of the sum of subcomponents from the weights, a mean";
  std::optional<std::string> name;
  Coefficient coefficient;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
  }
  FaithfulnessPlan plan() const { return {}; }
  bool operator==(const FaithfulnessTerm&) const = default;
};

// sum over subcomponents of ||U_c V_c^T||_p^p, which for a rank-one matrix is (||U_c|| ||V_c||)^p.
struct SchattenTerm {
  static constexpr std::string_view kind = "schatten";
  static constexpr std::string_view summary =
      "sum over subcomponents of (|U_c| |V_c|)^p, the Schatten norm of each to the power p";
  std::optional<std::string> name;
  Coefficient coefficient;
  double p = 1.0;
  double eps = 1e-12;
  bool weighted_by_topk = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(field("p", "exponent; 1: the nuclear norm").more_than(0), self.p);
    visit(field("eps", "added to |U_c|^2 |V_c|^2, so that the slope at 0 is finite").more_than(0), self.eps);
    visit(field("weighted_by_topk",
                "true: each subcomponent weighs as much as the part of the batch's positions at which "
                "topk_attribution_recon keeps it"),
          self.weighted_by_topk);
  }
  SchattenPlan plan() const { return {p, eps, weighted_by_topk}; }
  bool operator==(const SchattenTerm&) const = default;
};

}  // namespace vpd
