#pragma once

#include <string_view>
#include <variant>

#include "vpd/config/field.hpp"
#include "vpd/config/schedule.hpp"

// What minimality terms sum. g is an upper-leaky causal importance; phi(g), the penalty of a term, is what it
// sums: s_c over a batch's B T positions, of mean s_c / (B T).

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

}  // namespace vpd
