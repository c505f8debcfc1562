#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "vpd/config/field.hpp"
#include "vpd/config/schedule.hpp"

// The training loop, and what it leaves on disk.

namespace vpd {

struct AdamWConfig {
  static constexpr std::string_view kind = "adamw";
  static constexpr std::string_view summary = "Adam with decoupled weight decay";
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("beta1", "decay of the first moment").at_least(0).less_than(1), self.beta1);
    visit(field("beta2", "decay of the second moment").at_least(0).less_than(1), self.beta2);
    visit(field("eps", "added to the root of the second moment").more_than(0), self.eps);
    visit(field("weight_decay", "times the learning rate, taken off each parameter a step; 0: none")
              .at_least(0),
          self.weight_decay);
  }
  bool operator==(const AdamWConfig&) const = default;
};

using OptimizerConfig = std::variant<AdamWConfig>;

struct GradientClipConfig {
  static constexpr std::string_view summary =
      "largest global norm of the gradients, apart for the two groups";
  std::optional<double> components;
  std::optional<double> causal_importance;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("components", "of U and V; null: never clipped").more_than(0), self.components);
    visit(field("causal_importance", "of the causal-importance function; null: never clipped").more_than(0),
          self.causal_importance);
  }
  bool operator==(const GradientClipConfig&) const = default;
};

// AdamW on U and V for the faithfulness loss alone, before the loop.
struct FaithfulnessWarmupConfig {
  static constexpr std::string_view summary =
      "AdamW on U and V for the faithfulness loss alone, before the loop";
  std::int64_t steps = 0;
  double learning_rate = 1e-3;
  double weight_decay = 0.0;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("steps", "steps; 0: none").at_least(0), self.steps);
    visit(field("learning_rate", "constant learning rate").at_least(0), self.learning_rate);
    visit(field("weight_decay", "as in `optimizer`").at_least(0), self.weight_decay);
  }
  bool operator==(const FaithfulnessWarmupConfig&) const = default;
};

struct TrainingConfig {
  static constexpr std::string_view summary = "the training loop";

  std::int64_t steps = 0;
  std::int64_t batch_size = 0;
  std::optional<std::int64_t> micro_batch_size;
  std::optional<std::int64_t> background_batch_size;
  Schedule learning_rate;
  OptimizerConfig optimizer = AdamWConfig{};
  double unused_decay = 0.0;
  GradientClipConfig gradient_clip;
  FaithfulnessWarmupConfig faithfulness_warmup;
  bool cuda_graph = false;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("steps", "training steps; 0: initialise (and warm up) only").required().at_least(0),
          self.steps);
    visit(field("batch_size", "rows a step, of all processes together").required().at_least(1),
          self.batch_size);
    visit(field("micro_batch_size",
                "rows that a process has at once, a divisor of batch_size; null: all of its rows")
              .at_least(1),
          self.micro_batch_size);
    visit(field("background_batch_size", "rows of data.background a step; null: batch_size").at_least(1),
          self.background_batch_size);
    visit(field("learning_rate", "of U, V and causal importance").required().at_least(0), self.learning_rate);
    visit(field("optimizer", "of U, V and causal importance"), self.optimizer);
    visit(field("unused_decay",
                "times the learning rate and 1 - max g, g the importances of a subcomponent at all positions "
                "of the step, taken off its U and V a step; 0: none")
              .at_least(0),
          self.unused_decay);
    visit(field("gradient_clip", "largest global norms of gradients"), self.gradient_clip);
    visit(field("faithfulness_warmup", "before the loop"), self.faithfulness_warmup);
    visit(field("cuda_graph",
                "true: on CUDA the third step is captured as one CUDA graph and launched as such from then "
                "on; the "
                "objective's coefficients have to be numbers"),
          self.cuda_graph);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const TrainingConfig&) const = default;
};

struct OutputConfig {
  static constexpr std::string_view summary = "what is written, and how often";
  std::int64_t log_every = 200;
  std::int64_t checkpoint_every = 5000;
  std::int64_t keep = 3;
  bool tensorboard = false;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("log_every", "steps between two logged steps").at_least(1), self.log_every);
    visit(
        field("checkpoint_every", "steps between two checkpoints; the last step always has one").at_least(1),
        self.checkpoint_every);
    visit(field("keep", "checkpoints that stay, the newest ones").at_least(1), self.keep);
    visit(field("tensorboard",
                "write the numbers of metrics.jsonl as TensorBoard events, too, in tensorboard/"),
          self.tensorboard);
  }
  bool operator==(const OutputConfig&) const = default;
};

}  // namespace vpd
