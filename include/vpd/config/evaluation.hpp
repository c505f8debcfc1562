#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/adversary.hpp"
#include "vpd/config/field.hpp"
#include "vpd/config/ground_truth.hpp"
#include "vpd/config/metric_fields.hpp"

// What is measured on a decomposition, and when.

namespace vpd {

struct CeKlMetric {
  static constexpr std::string_view kind = "ce_kl";
  static constexpr std::string_view summary = "cross-entropy and KL under every way of masking";
  std::vector<double> rounding_thresholds = {0.0, 0.1, 0.5};
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("rounding_thresholds",
                        "masks of 0 and 1: 1 where the causal importance is above each of these")
              .at_least(0)
              .less_than(1),
          self.rounding_thresholds);
    visit(config::slow_field(), self.slow);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const CeKlMetric&) const = default;
};

struct CiL0Metric {
  static constexpr std::string_view kind = "ci_l0";
  static constexpr std::string_view summary = "causally important subcomponents a position";
  double threshold = 0.0;
  std::map<std::string, std::vector<std::string>> groups;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("threshold", "counted where the causal importance is above this")
              .at_least(0)
              .less_than(1),
          self.threshold);
    visit(config::field("groups", "further sums: a name, and shell patterns over the sites that it adds up"),
          self.groups);
    visit(config::slow_field(), self.slow);
  }
  std::optional<config::Complaint> validate() const;
  bool operator==(const CiL0Metric&) const = default;
};

struct AliveMetric {
  static constexpr std::string_view kind = "alive";
  static constexpr std::string_view summary =
      "subcomponents whose mean causal importance is above a threshold";
  double threshold = 1e-6;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("threshold", "counted where the mean causal importance is above this")
              .at_least(0)
              .less_than(1),
          self.threshold);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const AliveMetric&) const = default;
};

struct CiHistogramMetric {
  static constexpr std::string_view kind = "ci_histogram";
  static constexpr std::string_view summary =
      "histograms of causal importances, and of how often each subcomponent is active";
  double threshold = 0.1;
  std::int64_t bins = 20;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("threshold", "active where the causal importance is above this")
              .at_least(0)
              .less_than(1),
          self.threshold);
    visit(config::field("bins", "equal parts of (0, 1] of the histograms of importances")
              .at_least(1)
              .at_most(64),
          self.bins);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const CiHistogramMetric&) const = default;
};

struct HiddenActsMetric {
  static constexpr std::string_view kind = "hidden_acts";
  static constexpr std::string_view summary =
      "mean squared error of the sites' outputs in the masked forward";
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const HiddenActsMetric&) const = default;
};

struct LossesMetric {
  static constexpr std::string_view kind = "losses";
  static constexpr std::string_view summary = "every term of the objective";
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const LossesMetric&) const = default;
};

struct PgdMetric {
  static constexpr std::string_view kind = "pgd";
  static constexpr std::string_view summary = "divergence after a fresh adversary's ascent";
  std::string name;
  std::int64_t steps = 20;
  double step_size = 0.1;
  FreshInit init = FreshInit::random;
  FreshScope scope = FreshScope::shared_across_batch;
  std::int64_t batches = 1;
  bool slow = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("name", "name in `pgd/<name>`; each has its own")
              .required()
              .label()
              .matching("[A-Za-z0-9_.-]+", "letters, digits, '_', '.' and '-'"),
          self.name);
    config::describe_fresh_ascent(self, visit);
    visit(config::field("batches",
                        "batches that one attack climbs on together, its gradient their mean before each "
                        "step; more than 1 computes their clean passes again at each step")
              .at_least(1),
          self.batches);
    visit(config::slow_field(), self.slow);
  }
  bool operator==(const PgdMetric&) const = default;
};

using MetricConfig = std::variant<CeKlMetric, CiL0Metric, AliveMetric, CiHistogramMetric, HiddenActsMetric,
                                  LossesMetric, PgdMetric, IdentityCiErrorMetric, DenseCiErrorMetric,
                                  MmcsMetric, L2RatioMetric, InductionMatchMetric>;

enum class MeasuredImportances { causal_importance, topk_attribution };

constexpr std::array<config::EnumName<MeasuredImportances>, 2> config_names(MeasuredImportances) {
  return {{{MeasuredImportances::causal_importance, "causal_importance"},
           {MeasuredImportances::topk_attribution, "topk_attribution"}}};
}

struct EvaluationConfig {
  static constexpr std::string_view summary = "what is measured, and when";

  std::optional<std::int64_t> every;
  std::optional<std::int64_t> slow_every;
  bool final = true;
  std::int64_t batch_size = 8;
  std::int64_t batches = 1;
  MeasuredImportances importances = MeasuredImportances::causal_importance;
  std::vector<MetricConfig> metrics;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("every", "steps between two evaluations; null: only on demand").at_least(1), self.every);
    visit(field("slow_every",
                "steps between two measurements of slow metrics, a multiple of `every`; null: only on demand")
              .at_least(1),
          self.slow_every);
    visit(field("final",
                "whether the metrics are measured after the last step, slow ones where the run is at least "
                "slow_every long"),
          self.final);
    visit(field("batch_size", "rows of a batch").at_least(1), self.batch_size);
    visit(field("batches", "batches of an evaluation").at_least(1), self.batches);
    visit(
        field(
            "importances",
            "what metrics take for the importances of a batch: those of the causal-importance function, or 1 "
            "for what topk_attribution_recon keeps and 0 for the rest"),
        self.importances);
    visit(field("metrics", "what is measured"), self.metrics);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const EvaluationConfig&) const = default;
};

std::optional<config::Complaint> validate_metrics(const std::vector<MetricConfig>& metrics,
                                                  bool delta_component);

}  // namespace vpd
