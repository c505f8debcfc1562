#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/common.hpp"
#include "vpd/config/field.hpp"
#include "vpd/config/llama_simple_mlp.hpp"
#include "vpd/config/load.hpp"
#include "vpd/config/schedule.hpp"
#include "vpd/config/toys.hpp"

// The configuration of a target's own training (`vpd pretrain`).

namespace vpd {

struct PretrainDataConfig {
  static constexpr std::string_view summary = "where rows come from";
  DataSource train;
  std::optional<DataSource> eval;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("train", "rows to train on").required(), self.train);
    visit(config::field("eval", "rows to evaluate on; null: none"), self.eval);
  }
  bool operator==(const PretrainDataConfig&) const = default;
};

struct PretrainAdamWConfig {
  static constexpr std::string_view kind = "adamw";
  static constexpr std::string_view summary = "Adam with decoupled weight decay on the matrices alone";
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("beta1", "decay of the first moment").at_least(0).less_than(1), self.beta1);
    visit(field("beta2", "decay of the second moment").at_least(0).less_than(1), self.beta2);
    visit(field("eps", "added to the root of the second moment").more_than(0), self.eps);
    visit(field("weight_decay", "times the learning rate, taken off each matrix a step; 0: none").at_least(0),
          self.weight_decay);
  }
  bool operator==(const PretrainAdamWConfig&) const = default;
};

using PretrainOptimizerConfig = std::variant<PretrainAdamWConfig>;

struct PretrainTrainingConfig {
  static constexpr std::string_view summary = "the training loop";

  std::int64_t steps = 0;
  std::int64_t batch_size = 1;
  Schedule learning_rate = {.start = 3e-4, .schedule = ScheduleShape::cosine, .final_fraction = 0.1};
  PretrainOptimizerConfig optimizer = PretrainAdamWConfig{};
  std::optional<double> gradient_clip = 1.0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("steps", "training steps; 0: random weights").required().at_least(0), self.steps);
    visit(field("batch_size", "rows a step").at_least(1), self.batch_size);
    visit(field("learning_rate", "of every parameter").at_least(0), self.learning_rate);
    visit(field("optimizer", "of every parameter"), self.optimizer);
    visit(field("gradient_clip", "largest global norm of the gradient; null: never clipped").more_than(0),
          self.gradient_clip);
  }
  bool operator==(const PretrainTrainingConfig&) const = default;
};

struct PretrainEvaluationConfig {
  static constexpr std::string_view summary = "the loss on the evaluation rows";
  std::optional<std::int64_t> every;
  std::int64_t batch_size = 8;
  std::int64_t batches = 1;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("every", "steps between two evaluations; null: only after the last step").at_least(1),
          self.every);
    visit(field("batch_size", "rows of a batch").at_least(1), self.batch_size);
    visit(field("batches", "batches of an evaluation").at_least(1), self.batches);
  }
  bool operator==(const PretrainEvaluationConfig&) const = default;
};

using PretrainModelConfig = std::variant<LlamaSimpleMlpConfig, TmsConfig, ResidualMlpConfig, InductionConfig>;

struct PretrainConfig {
  static constexpr std::string_view summary = "the training of a target";

  std::uint64_t seed = 0;
  std::string device = "auto";
  Precision precision = Precision::automatic;
  PretrainModelConfig model;
  std::optional<PretrainDataConfig> data;
  PretrainTrainingConfig training;
  PretrainEvaluationConfig evaluation;
  std::int64_t log_every = 100;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("seed", "of every random stream"), self.seed);
    visit(device_field(), self.device);
    visit(precision_field(), self.precision);
    visit(field("model", "shapes and constants of the target")
              .required()
              .of_kind_by_default(LlamaSimpleMlpConfig::kind),
          self.model);
    visit(field("data", "where rows come from; null: none, for a run of no steps"), self.data);
    visit(field("training", "the training loop").required(), self.training);
    visit(field("evaluation", "when the loss is measured on other rows"), self.evaluation);
    visit(field("log_every", "steps between two logged steps").at_least(1), self.log_every);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const PretrainConfig&) const = default;
};

// As their namesakes in run.hpp.
PretrainConfig load_pretrain_config(const std::filesystem::path& path,
                                    const std::vector<std::string>& overrides = {},
                                    config::Files files = config::Files::must_exist);
void check(const PretrainConfig& pretrain);
std::string to_yaml(const PretrainConfig& pretrain);
std::string to_json(const PretrainConfig& pretrain);
std::vector<std::string> differences(const PretrainConfig& before, const PretrainConfig& after);
std::string pretrain_json_schema();
std::string pretrain_reference_markdown();

}  // namespace vpd
