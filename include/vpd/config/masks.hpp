#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "vpd/config/field.hpp"
#include "vpd/config/schedule.hpp"

// What the random part of masks is drawn from.

namespace vpd {

// Random sources of masks.
enum class SourceDistribution { uniform, binomial };

constexpr std::array<config::EnumName<SourceDistribution>, 2> config_names(SourceDistribution) {
  return {{{SourceDistribution::uniform, "uniform"}, {SourceDistribution::binomial, "binomial"}}};
}

// How often the sites of a merged pass choose between random and adversarial sources.
enum class MergedDraw { per_step, per_row, per_position };

constexpr std::array<config::EnumName<MergedDraw>, 3> config_names(MergedDraw) {
  return {{{MergedDraw::per_step, "per_step"},
           {MergedDraw::per_row, "per_row"},
           {MergedDraw::per_position, "per_position"}}};
}

// Random and adversarial masks in one pass.
struct MergedMasksConfig {
  static constexpr std::string_view summary =
      "each site draws whether its masks come from U(0,1) or from the adversary, which climbs where it was "
      "drawn";
  Schedule adversarial_fraction = {.start = 0.5};
  MergedDraw draw = MergedDraw::per_step;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("adversarial_fraction",
                        "chance of the adversary, a number or a schedule; 1: no merging")
              .fraction(),
          self.adversarial_fraction);
    visit(config::field("draw",
                        "one draw of each site for the whole batch, for each of its rows, or for each "
                        "position"),
          self.draw);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const MergedMasksConfig&) const = default;
};

}  // namespace vpd
