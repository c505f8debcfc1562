#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "vpd/config/plan.hpp"
#include "vpd/config/term.hpp"

// Terms that compare a masked forward pass with the target's own.

namespace vpd {

namespace config {

constexpr Field samples_field() { return field("samples", "forward passes per step, averaged").at_least(1); }

constexpr Field random_sources_field() {
  return field("sources", "random sources of the masks: U(0,1), or 0 and 1 alike");
}

}  // namespace config

// Divergence from the target's output under random masks, a mean over samples.
struct StochasticReconTerm {
  static constexpr std::string_view kind = "stochastic_recon";
  static constexpr std::string_view summary = "divergence from the target under random masks";
  std::optional<std::string> name;
  Coefficient coefficient;
  std::int64_t samples = 1;
  SourceDistribution sources = SourceDistribution::uniform;
  RoutingConfig routing = AllRoutingConfig{};
  TermRows rows = TermRows::target;
  std::optional<double> delta;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::samples_field(), self.samples);
    visit(config::random_sources_field(), self.sources);
    visit(config::routing_field(), self.routing);
    visit(config::term_rows_field(), self.rows);
    visit(config::term_delta_field(), self.delta);
  }
  ReconstructionPlan plan() const {
    return {RandomMasks{samples, sources}, Comparison::output, routing, delta};
  }
  bool operator==(const StochasticReconTerm&) const = default;
};

// The same divergence under masks that an adversary chose.
struct AdversarialReconTerm {
  static constexpr std::string_view kind = "adversarial_recon";
  static constexpr std::string_view summary =
      "divergence from the target under masks that an adversary chose, or in part random ones";
  std::optional<std::string> name;
  Coefficient coefficient;
  RoutingConfig routing = AllRoutingConfig{};
  TermRows rows = TermRows::target;
  std::optional<double> delta;
  AdversaryConfig adversary;
  std::optional<MergedMasksConfig> merged;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::routing_field(), self.routing);
    visit(config::term_rows_field(), self.rows);
    visit(config::term_delta_field(), self.delta);
    visit(config::field("adversary", "who chooses the sources"), self.adversary);
    visit(config::field("merged", "random sources in some sites' masks; null: the adversary's in all"),
          self.merged);
  }
  ReconstructionPlan plan() const {
    return {AdversarialMasks{adversary, merged}, Comparison::output, routing, delta};
  }
  bool operator==(const AdversarialReconTerm&) const = default;
};

// Divergence with the causal importances themselves as masks, the Delta-component off. A monitor.
struct CiMaskedReconTerm {
  static constexpr std::string_view kind = "ci_masked_recon";
  static constexpr std::string_view summary =
      "divergence with the causal importances as masks; a monitor, not meant to be trained on";
  std::optional<std::string> name;
  Coefficient coefficient;
  RoutingConfig routing = AllRoutingConfig{};
  TermRows rows = TermRows::target;
  std::optional<double> delta;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::routing_field(), self.routing);
    visit(config::term_rows_field(), self.rows);
    visit(config::term_delta_field(), self.delta);
  }
  ReconstructionPlan plan() const { return {ConstantMasks{0.0}, Comparison::output, routing, delta}; }
  bool operator==(const CiMaskedReconTerm&) const = default;
};

// Divergence with every mask 1, the Delta-component off. A monitor.
struct UnmaskedReconTerm {
  static constexpr std::string_view kind = "unmasked_recon";
  static constexpr std::string_view summary =
      "divergence with every mask 1; a monitor, not meant to be trained on";
  std::optional<std::string> name;
  Coefficient coefficient;
  RoutingConfig routing = AllRoutingConfig{};
  TermRows rows = TermRows::target;
  std::optional<double> delta;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::routing_field(), self.routing);
    visit(config::term_rows_field(), self.rows);
    visit(config::term_delta_field(), self.delta);
  }
  ReconstructionPlan plan() const { return {ConstantMasks{1.0}, Comparison::output, routing, delta}; }
  bool operator==(const UnmaskedReconTerm&) const = default;
};

// What the masks of hidden_acts_recon are made from.

struct RandomMasksConfig {
  static constexpr std::string_view kind = "random";
  static constexpr std::string_view summary = "random sources, as in stochastic_recon";
  std::int64_t samples = 1;
  SourceDistribution sources = SourceDistribution::uniform;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::samples_field(), self.samples);
    visit(config::random_sources_field(), self.sources);
  }
  Masks plan() const { return RandomMasks{samples, sources}; }
  bool operator==(const RandomMasksConfig&) const = default;
};

struct CiMasksConfig {
  static constexpr std::string_view kind = "ci";
  static constexpr std::string_view summary =
      "the causal importances themselves, the Delta-component off, as in ci_masked_recon";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  Masks plan() const { return ConstantMasks{0.0}; }
  bool operator==(const CiMasksConfig&) const = default;
};

struct AdversarialMasksConfig {
  static constexpr std::string_view kind = "adversarial";
  static constexpr std::string_view summary =
      "sources that an adversary chose to make this very error large, as in adversarial_recon";
  AdversaryConfig adversary;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("adversary", "who chooses the sources"), self.adversary);
  }
  Masks plan() const { return AdversarialMasks{adversary, {}}; }
  bool operator==(const AdversarialMasksConfig&) const = default;
};

using HiddenActsMasksConfig = std::variant<RandomMasksConfig, CiMasksConfig, AdversarialMasksConfig>;

// Mean squared error between what each site gives in the clean and in the masked forward, all entries of all
// sites weighted equally.
struct HiddenActsReconTerm {
  static constexpr std::string_view kind = "hidden_acts_recon";
  static constexpr std::string_view summary =
      "mean squared error of the sites' outputs under masks, all entries of all sites weighted equally";
  std::optional<std::string> name;
  Coefficient coefficient;
  HiddenActsMasksConfig masks = RandomMasksConfig{};
  RoutingConfig routing = AllRoutingConfig{};
  TermRows rows = TermRows::target;
  std::optional<double> delta;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("masks", "what the masks are made from"), self.masks);
    visit(config::routing_field(), self.routing);
    visit(config::term_rows_field(), self.rows);
    visit(config::term_delta_field(), self.delta);
  }
  ReconstructionPlan plan() const {
    return {std::visit([](const auto& each) { return each.plan(); }, masks), Comparison::hidden_acts, routing,
            delta};
  }
  bool operator==(const HiddenActsReconTerm&) const = default;
};

// Mean squared error of the target's output with the most attributed subcomponents alone (APD).
struct TopkAttributionReconTerm {
  static constexpr std::string_view kind = "topk_attribution_recon";
  static constexpr bool at_most_once = true;
  static constexpr std::string_view summary =
      "mean squared error of the output with those subcomponents alone that have the largest gradient "
      "attributions";
  std::optional<std::string> name;
  Coefficient coefficient;
  double k = 1.0;
  RoutingConfig routing = AllRoutingConfig{};
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("k",
                        "subcomponents kept a position, a mean over the batch: k times its positions "
                        "are kept, wherever they are the largest; need not be whole")
              .required()
              .more_than(0),
          self.k);
    visit(config::routing_field(), self.routing);
  }
  ReconstructionPlan plan() const { return {LargestMasks{k}, Comparison::squared_error, routing}; }
  bool operator==(const TopkAttributionReconTerm&) const = default;
};

}  // namespace vpd
