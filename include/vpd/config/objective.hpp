#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <vpd/config/adversary.hpp>
#include <vpd/config/field.hpp>
#include <vpd/config/schedule.hpp>

// The weighted terms of the objective.

namespace vpd {

// Where masked weights are used; elsewhere the site computes with the target's own.

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

// Random sources of masks.
enum class SourceDistribution { uniform, binomial };

constexpr std::array<config::EnumName<SourceDistribution>, 2> config_names(SourceDistribution) {
  return {{{SourceDistribution::uniform, "uniform"}, {SourceDistribution::binomial, "binomial"}}};
}

namespace config {

constexpr Field coefficient_field() {
  return field("coefficient", "weight of the term in the objective, a number or a schedule").required();
}

constexpr Field term_name_field() {
  return field("name",
               "name of the term in the log in place of its type; a second term of one type needs one")
      .matching("[A-Za-z0-9_.-]+", "letters, digits, '_', '.' and '-'");
}

}  // namespace config

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

// Divergence from the target's output under random masks, a mean over samples.
struct StochasticReconTerm {
  static constexpr std::string_view kind = "stochastic_recon";
  static constexpr std::string_view summary = "divergence from the target under random masks";
  std::optional<std::string> name;
  Coefficient coefficient;
  std::int64_t samples = 1;
  SourceDistribution sources = SourceDistribution::uniform;
  RoutingConfig routing = AllRoutingConfig{};
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("samples", "forward passes per step, averaged").at_least(1), self.samples);
    visit(config::field("sources", "random sources of the masks: U(0,1), or 0 and 1 alike"), self.sources);
    visit(config::field("routing", "where masked weights are used"), self.routing);
  }
  bool operator==(const StochasticReconTerm&) const = default;
};

// The same divergence under masks that an adversary chose.
struct AdversarialReconTerm {
  static constexpr std::string_view kind = "adversarial_recon";
  static constexpr std::string_view summary =
      "divergence from the target under masks that an adversary chose";
  std::optional<std::string> name;
  Coefficient coefficient;
  RoutingConfig routing = AllRoutingConfig{};
  AdversaryConfig adversary;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
    visit(config::field("routing", "where masked weights are used"), self.routing);
    visit(config::field("adversary", "who chooses the sources"), self.adversary);
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
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
  }
  bool operator==(const CiMaskedReconTerm&) const = default;
};

// Divergence with every mask 1, the Delta-component off. A monitor.
struct UnmaskedReconTerm {
  static constexpr std::string_view kind = "unmasked_recon";
  static constexpr std::string_view summary =
      "divergence with every mask 1; a monitor, not meant to be trained on";
  std::optional<std::string> name;
  Coefficient coefficient;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::term_name_field(), self.name);
    visit(config::coefficient_field(), self.coefficient);
  }
  bool operator==(const UnmaskedReconTerm&) const = default;
};

using TermConfig =
    std::variant<FaithfulnessTerm, ImportanceMinimalityTerm, FrequencyMinimalityTerm, StochasticReconTerm,
                 AdversarialReconTerm, CiMaskedReconTerm, UnmaskedReconTerm>;

using ObjectiveConfig = std::vector<TermConfig>;

// The term's name in `train/loss/<label>`: its `name`, or its type where it has none. Distinct within an
// objective.
std::string label(const TermConfig& term);

const Coefficient& coefficient_of(const TermConfig& term);

// What a term is computed from: U and V alone; the causal importances of the whole batch; or masked forward
// passes.
enum class TermFamily { parameters, minimality, reconstruction };
TermFamily family_of(const TermConfig& term);

// The adversary whose sources a term's masks are made from, or null.
const AdversaryConfig* adversary_of(const TermConfig& term);

// The exponent and eps of a frequency term: its own, or those of the objective's importance_minimality.
Annealed exponent_of(const FrequencyMinimalityTerm& term, const ObjectiveConfig& objective);
double eps_of(const FrequencyMinimalityTerm& term, const ObjectiveConfig& objective);

// The first term of type `Term`, or null.
template <class Term>
const Term* find_term(const ObjectiveConfig& objective) {
  for (const TermConfig& term : objective) {
    if (const Term* found = std::get_if<Term>(&term)) return found;
  }
  return nullptr;
}

std::optional<config::Complaint> validate_objective(const ObjectiveConfig& objective, bool delta_component);

}  // namespace vpd
