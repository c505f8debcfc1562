#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "vpd/config/field.hpp"

// Data of the toy models (method, section 8): rows that are made as they are asked for, each from the seed
// and its number alone.

namespace vpd {

enum class Generation {
  at_least_zero_active,
  exactly_one_active,
  exactly_two_active,
  exactly_three_active,
  exactly_four_active,
  exactly_five_active
};

constexpr std::array<config::EnumName<Generation>, 6> config_names(Generation) {
  return {{{Generation::at_least_zero_active, "at_least_zero_active"},
           {Generation::exactly_one_active, "exactly_one_active"},
           {Generation::exactly_two_active, "exactly_two_active"},
           {Generation::exactly_three_active, "exactly_three_active"},
           {Generation::exactly_four_active, "exactly_four_active"},
           {Generation::exactly_five_active, "exactly_five_active"}}};
}

// How many features a row has of an `exactly_..._active` kind; 0 for at_least_zero_active.
constexpr std::int64_t active_features(Generation generation) {
  return static_cast<std::int64_t>(generation);
}

// Rows of as many features as the target reads, most of them 0.
struct SparseFeaturesData {
  static constexpr std::string_view kind = "sparse_features";
  static constexpr std::string_view summary =
      "rows of features, most of them 0, as many as the target reads; made, not read";

  std::optional<double> probability;
  std::vector<double> range = {0.0, 1.0};
  Generation generation = Generation::at_least_zero_active;
  std::vector<std::int64_t> only;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("probability", "chance of each feature to be active; at_least_zero_active alone has it")
              .fraction(),
          self.probability);
    visit(field("range", "[low, high]: an active feature is U(low, high)"), self.range);
    visit(field("generation", "whether features are active each by itself, or a number of them in every row"),
          self.generation);
    visit(field("only", "features, counted from 0, that may be active at all; empty: every one"), self.only);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const SparseFeaturesData&) const = default;
};

// [BOS] t ... S m t ... S, after which m comes: BOS is token 0, S the last of the target's vocabulary, and t
// and m are any others.
struct InductionData {
  static constexpr std::string_view kind = "induction";
  static constexpr std::string_view summary =
      "rows [BOS] t ... S m t ... S of random tokens, which m completes; made, not read";

  std::int64_t sequence_length = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("sequence_length", "tokens in a row").required().at_least(4), self.sequence_length);
  }

  bool operator==(const InductionData&) const = default;
};

}  // namespace vpd
