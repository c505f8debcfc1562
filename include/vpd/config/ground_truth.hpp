#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/config/field.hpp"
#include "vpd/config/metric_fields.hpp"

// Metrics that compare a decomposition of a toy model with its known mechanisms (method, section 8).

namespace vpd {

namespace config {

// Shared by the metrics that look at causal importances on inputs with one active feature each.
template <class Self, class Visitor>
void describe_probe(Self& self, Visitor& visit) {
  visit(field("input", "value of the active feature of each probe"), self.input);
  visit(field("tolerance", "how far from 0 or from 1 a causal importance may be").at_least(0).less_than(0.5),
        self.tolerance);
}

}  // namespace config

struct IdentityCiErrorMetric {
  static constexpr std::string_view kind = "identity_ci_error";
  static constexpr std::string_view summary =
      "on inputs with one active feature, departures from one subcomponent per feature";
  std::vector<std::string> sites;
  double input = 0.75;
  double tolerance = 0.1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("sites", "shell patterns over the sites that have a subcomponent for each feature")
              .required()
              .non_empty(),
          self.sites);
    config::describe_probe(self, visit);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const IdentityCiErrorMetric&) const = default;
};

struct DenseCiErrorMetric {
  static constexpr std::string_view kind = "dense_ci_error";
  static constexpr std::string_view summary =
      "on inputs with one active feature, departures from a number of subcomponents that do everything";
  std::map<std::string, std::int64_t> sites;
  double input = 0.75;
  double tolerance = 0.1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("sites", "shell patterns over the sites, and how many subcomponents each site has")
              .required(),
          self.sites);
    config::describe_probe(self, visit);
    visit(config::slow_field(), self.slow);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const DenseCiErrorMetric&) const = default;
};

struct MmcsMetric {
  static constexpr std::string_view kind = "mmcs";
  static constexpr std::string_view summary =
      "mean over the features of the largest cosine between the feature's weights and those of a "
      "subcomponent "
      "that some feature needs";
  std::vector<std::string> sites;
  double input = 0.75;
  double tolerance = 0.1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("sites", "shell patterns over the sites with a column or a row for each feature")
              .required()
              .non_empty(),
          self.sites);
    config::describe_probe(self, visit);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const MmcsMetric&) const = default;
};

struct L2RatioMetric {
  static constexpr std::string_view kind = "l2_ratio";
  static constexpr std::string_view summary =
      "mean over the features of the length of the subcomponent that `mmcs` finds over that of the feature's "
      "weights";
  std::vector<std::string> sites;
  double input = 0.75;
  double tolerance = 0.1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("sites", "as in `mmcs`").required().non_empty(), self.sites);
    config::describe_probe(self, visit);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const L2RatioMetric&) const = default;
};

struct InductionMatchMetric {
  static constexpr std::string_view kind = "induction_match";
  static constexpr std::string_view summary =
      "of the induction-head toy: how many subcomponents of the last block's q and k make the match, and how "
      "often the answer is right with these alone and without them";
  double threshold = 0.1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("threshold",
                        "a subcomponent belongs to the match where its mean causal importance is above this")
              .at_least(0)
              .less_than(1),
          self.threshold);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const InductionMatchMetric&) const = default;
};

}  // namespace vpd
