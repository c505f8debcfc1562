#pragma once

#include <string_view>
#include <variant>

#include "vpd/config/field.hpp"

// Where masked weights are used; elsewhere the site computes with the target's own.

namespace vpd {

struct AllRoutingConfig {
  static constexpr std::string_view kind = "all";
  static constexpr std::string_view summary = "every site at every position";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const AllRoutingConfig&) const = default;
};

struct UniformKSubsetRoutingConfig {
  static constexpr std::string_view kind = "uniform_k_subset";
  static constexpr std::string_view summary =
      "per position k ~ U{1..L}, then a random k-subset of the L sites";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const UniformKSubsetRoutingConfig&) const = default;
};

struct StaticProbabilityRoutingConfig {
  static constexpr std::string_view kind = "static_probability";
  static constexpr std::string_view summary = "each site at each position with one fixed probability";
  double probability = 0.5;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("probability", "chance that a site is masked at a position; 1: `all`")
              .required()
              .fraction(),
          self.probability);
  }
  bool operator==(const StaticProbabilityRoutingConfig&) const = default;
};

struct LayerwiseRoutingConfig {
  static constexpr std::string_view kind = "layerwise";
  static constexpr std::string_view summary =
      "one forward per site with that site alone masked; the loss is the mean over sites";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const LayerwiseRoutingConfig&) const = default;
};

using RoutingConfig = std::variant<AllRoutingConfig, UniformKSubsetRoutingConfig,
                                   StaticProbabilityRoutingConfig, LayerwiseRoutingConfig>;

namespace config {

constexpr Field routing_field() { return field("routing", "where masked weights are used"); }

}  // namespace config

}  // namespace vpd
