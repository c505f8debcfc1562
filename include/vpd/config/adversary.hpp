#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "vpd/config/field.hpp"
#include "vpd/config/schedule.hpp"

// Who chooses adversarial sources. B batch, T positions, C+1 channels of a site with the Delta-component's.

namespace vpd {

enum class PersistentScope { per_position, shared_across_batch, n_sources, pooled };

constexpr std::array<config::EnumName<PersistentScope>, 4> config_names(PersistentScope) {
  return {{{PersistentScope::per_position, "per_position"},
           {PersistentScope::shared_across_batch, "shared_across_batch"},
           {PersistentScope::n_sources, "n_sources"},
           {PersistentScope::pooled, "pooled"}}};
}

enum class SourceParametrization { clamped, sigmoid };

constexpr std::array<config::EnumName<SourceParametrization>, 2> config_names(SourceParametrization) {
  return {{{SourceParametrization::clamped, "clamped"}, {SourceParametrization::sigmoid, "sigmoid"}}};
}

enum class SourceStorage { float32, compact };

constexpr std::array<config::EnumName<SourceStorage>, 2> config_names(SourceStorage) {
  return {{{SourceStorage::float32, "float32"}, {SourceStorage::compact, "compact"}}};
}

struct UniformInitConfig {
  static constexpr std::string_view kind = "uniform";
  static constexpr std::string_view summary = "U(0,1); unbounded values of `sigmoid` start from N(0,1)";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const UniformInitConfig&) const = default;
};

struct ConstantInitConfig {
  static constexpr std::string_view kind = "constant";
  static constexpr std::string_view summary = "one value everywhere";
  double value = 0.5;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("value", "the sources' first value").required().fraction(), self.value);
  }
  bool operator==(const ConstantInitConfig&) const = default;
};

using SourceInitConfig = std::variant<UniformInitConfig, ConstantInitConfig>;

struct AdamAscentConfig {
  static constexpr std::string_view kind = "adam";
  static constexpr std::string_view summary = "Adam with bias correction; its counter counts every ascent";
  double beta1 = 0.5;
  double beta2 = 0.99;
  double eps = 1e-8;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("beta1", "decay of the first moment").at_least(0).less_than(1), self.beta1);
    visit(config::field("beta2", "decay of the second moment").at_least(0).less_than(1), self.beta2);
    visit(config::field("eps", "added to the root of the second moment").more_than(0), self.eps);
  }
  bool operator==(const AdamAscentConfig&) const = default;
};

struct SignAscentConfig {
  static constexpr std::string_view kind = "sign";
  static constexpr std::string_view summary = "steps of the learning rate along the gradient's sign";
  template <class Self, class Visitor>
  static void describe(Self&, Visitor&) {}
  bool operator==(const SignAscentConfig&) const = default;
};

using AscentOptimizerConfig = std::variant<AdamAscentConfig, SignAscentConfig>;

// Sources that live as long as the run and climb at every step.
struct PersistentAdversaryConfig {
  static constexpr std::string_view kind = "persistent";
  static constexpr std::string_view summary = "sources that live as long as the run and climb at every step";

  PersistentScope scope = PersistentScope::per_position;
  std::optional<std::int64_t> sources;
  bool shared_across_positions = false;
  SourceInitConfig init = UniformInitConfig{};
  SourceParametrization parametrization = SourceParametrization::clamped;
  SourceStorage storage = SourceStorage::float32;
  std::int64_t warmup_steps = 2;
  AscentOptimizerConfig optimizer = AdamAscentConfig{};
  Schedule learning_rate = {.start = 0.01, .warmup_fraction = 0.025};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(
        field("scope",
              "shape of the sources: [B, T, C+1]; [1, T, C+1] shared by the batch; `sources` rows [N, T, "
              "C+1] repeated over the batch; or a pool of `sources` for each row of the batch, [B, K, C+1], "
              "of which a step draws one a row, for all positions, and climbs no other"),
        self.scope);
    visit(field("sources", "N of scope n_sources, K of scope pooled; the other scopes have none").at_least(1),
          self.sources);
    visit(field("shared_across_positions",
                "true: scope shared_across_batch with one source for all positions, [1, 1, C+1]"),
          self.shared_across_positions);
    visit(field("init", "first values"), self.init);
    visit(field("parametrization", "clamped: sources held in [0,1]; sigmoid: sigmoid of unbounded values"),
          self.parametrization);
    visit(
        field("storage",
              "how sources and moments are kept between steps; compact: in half of float32's bytes, sources "
              "as multiples of 1/32767 and moments in bfloat16, for clamped sources of scope per_position "
              "without layerwise routing"),
        self.storage);
    visit(field("warmup_steps", "ascent steps on each batch before its loss is taken; one more follows")
              .at_least(0),
          self.warmup_steps);
    visit(field("optimizer", "how the sources climb"), self.optimizer);
    visit(field("learning_rate", "size of an ascent step").at_least(0), self.learning_rate);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const PersistentAdversaryConfig&) const = default;
};

enum class FreshInit { random, ones, zeros };

constexpr std::array<config::EnumName<FreshInit>, 3> config_names(FreshInit) {
  return {{{FreshInit::random, "random"}, {FreshInit::ones, "ones"}, {FreshInit::zeros, "zeros"}}};
}

enum class FreshScope { shared_across_batch, per_datapoint };

constexpr std::array<config::EnumName<FreshScope>, 2> config_names(FreshScope) {
  return {{{FreshScope::shared_across_batch, "shared_across_batch"},
           {FreshScope::per_datapoint, "per_datapoint"}}};
}

namespace config {

// Described once for the fresh adversary and for the `pgd` metric, which is one.
template <class Self, class Visitor>
void describe_fresh_ascent(Self& self, Visitor& visit) {
  visit(field("steps", "steps along the sign of the gradient; 0: the first values stay").at_least(0),
        self.steps);
  visit(field("step_size", "length of a step, in units of a source").more_than(0), self.step_size);
  visit(field("init", "first values: U(0,1), 1 or 0; ones needs delta_component: false"), self.init);
  visit(field("scope",
              "shape of the sources: [1, 1, C+1] for the whole batch, or [B, T, C+1], one for each position"),
        self.scope);
}

}  // namespace config

// New sources for every batch, climbed by the gradient's sign.
struct FreshAdversaryConfig {
  static constexpr std::string_view kind = "fresh";
  static constexpr std::string_view summary =
      "new sources for every batch, climbed along the gradient's sign";

  std::int64_t steps = 20;
  double step_size = 0.1;
  FreshInit init = FreshInit::random;
  FreshScope scope = FreshScope::shared_across_batch;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    config::describe_fresh_ascent(self, visit);
  }

  bool operator==(const FreshAdversaryConfig&) const = default;
};

using AdversaryConfig = std::variant<PersistentAdversaryConfig, FreshAdversaryConfig>;

// Why the sources may not start where `init` says with the Delta-component on, or nothing.
std::optional<config::Complaint> validate_start(const AdversaryConfig& adversary, bool delta_component);
std::optional<config::Complaint> validate_start(FreshInit init, bool delta_component);

}  // namespace vpd
