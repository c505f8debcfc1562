#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <vpd/config/schedule.hpp>
#include <vpd/config/term.hpp>

// Terms of U and V alone.

namespace vpd {

// ||W - (VU)^T||_F^2 over all sites, divided by the number of entries.
struct FaithfulnessTerm {
  static constexpr std::string_view kind = "faithfulness";
  static constexpr std::string_view summary =
      "squared distance of the sum of subcomponents from the weights, a mean";
  std::optional<std::string> name;
  Coefficient coefficient;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
  }
  bool operator==(const FaithfulnessTerm&) const = default;
};

}  // namespace vpd
