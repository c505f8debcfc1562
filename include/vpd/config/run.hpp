#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/causal_importance.hpp"
#include "vpd/config/common.hpp"
#include "vpd/config/evaluation.hpp"
#include "vpd/config/field.hpp"
#include "vpd/config/load.hpp"
#include "vpd/config/objective.hpp"
#include "vpd/config/training.hpp"

// The configuration of a decomposition: one file, read once.

namespace vpd {

namespace config {

inline auto checkpoint_field() {
  return field("path", "a directory: model_config.yaml or .json beside one .safetensors file")
      .required()
      .directory();
}
inline auto huggingface_field() {
  return field("path", "a directory: config.json beside model.safetensors, or beside shards and their index")
      .required()
      .directory();
}

}  // namespace config

struct LlamaSimpleMlpTarget {
  static constexpr std::string_view kind = "llama_simple_mlp";
  static constexpr std::string_view summary = "a LlamaSimpleMLP checkpoint";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::checkpoint_field(), self.path);
  }
  bool operator==(const LlamaSimpleMlpTarget&) const = default;
};

// Any model in Hugging Face's layout that the program knows; config.json says which.
struct HuggingFaceTarget {
  static constexpr std::string_view kind = "hf";
  static constexpr std::string_view summary =
      "a checkpoint in Hugging Face's layout: GPT-2, Llama, Qwen2 or Qwen3, as its config.json says";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::huggingface_field(), self.path);
  }
  bool operator==(const HuggingFaceTarget&) const = default;
};

struct Gpt2Target {
  static constexpr std::string_view kind = "gpt2";
  static constexpr std::string_view summary = "the same, and an error where it is not of the GPT-2 family";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::huggingface_field(), self.path);
  }
  bool operator==(const Gpt2Target&) const = default;
};

struct TmsTarget {
  static constexpr std::string_view kind = "tms";
  static constexpr std::string_view summary = "a checkpoint of a toy model of superposition";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::checkpoint_field(), self.path);
  }
  bool operator==(const TmsTarget&) const = default;
};

struct ResidualMlpTarget {
  static constexpr std::string_view kind = "residual_mlp";
  static constexpr std::string_view summary =
      "a checkpoint of a ResidualMLP, the toy of distributed computation";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::checkpoint_field(), self.path);
  }
  bool operator==(const ResidualMlpTarget&) const = default;
};

struct InductionTarget {
  static constexpr std::string_view kind = "induction";
  static constexpr std::string_view summary = "a checkpoint of the induction-head toy";
  std::filesystem::path path;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::checkpoint_field(), self.path);
  }
  bool operator==(const InductionTarget&) const = default;
};

using TargetConfig = std::variant<LlamaSimpleMlpTarget, HuggingFaceTarget, Gpt2Target, TmsTarget,
                                  ResidualMlpTarget, InductionTarget>;

struct DataConfig {
  static constexpr std::string_view summary = "where rows come from";
  DataSource train;
  DataSource eval;
  std::optional<DataSource> background;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("train", "rows to train on").required(), self.train);
    visit(config::field("eval", "rows to evaluate on").required(), self.eval);
    visit(
        config::field("background",
                      "further rows to train on, for terms with `rows: background` (targeted decomposition)"),
        self.background);
  }
  bool operator==(const DataConfig&) const = default;
};

// Which weight matrices are decomposed, and into how many subcomponents.
struct SitePattern {
  static constexpr std::string_view summary = "weight matrices that are decomposed alike";
  std::string pattern;
  std::int64_t C = 0;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    visit(config::field("pattern", "shell pattern (*, ?, [..]) over the names of the weight matrices")
              .required()
              .non_empty()
              .label(),
          self.pattern);
    visit(config::field("C", "subcomponents of each matching matrix").required().at_least(1), self.C);
  }
  bool operator==(const SitePattern&) const = default;
};

struct RunConfig {
  static constexpr std::string_view summary = "a decomposition";

  std::uint64_t seed = 0;
  std::string device = "auto";
  Precision precision = Precision::automatic;
  TargetConfig target;
  DataConfig data;
  std::vector<SitePattern> sites;
  bool delta_component = true;
  std::optional<std::filesystem::path> initialize_from;
  CausalImportanceConfig causal_importance;
  ObjectiveConfig objective;
  TrainingConfig training;
  EvaluationConfig evaluation;
  OutputConfig output;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("seed", "of every random stream"), self.seed);
    visit(device_field(), self.device);
    visit(precision_field(), self.precision);
    visit(field("target", "the model to decompose").required(), self.target);
    visit(field("data", "where rows come from").required(), self.data);
    visit(field("sites", "weight matrices to decompose; the first pattern that matches wins")
              .required()
              .non_empty(),
          self.sites);
    visit(field("delta_component", "whether what the subcomponents leave of a weight is masked too"),
          self.delta_component);
    visit(field("initialize_from",
                "checkpoint directory that V, U and causal importance start from; null: random")
              .directory(),
          self.initialize_from);
    visit(field("causal_importance", "the function that says what may not be ablated").required(),
          self.causal_importance);
    visit(field("objective", "terms whose weighted sum is minimised").required().non_empty(), self.objective);
    visit(field("training", "the training loop").required(), self.training);
    visit(field("evaluation", "what is measured, and when"), self.evaluation);
    visit(field("output", "what is written, and how often"), self.output);
  }

  // Rows a step of data.background; 0 without any.
  std::int64_t background_rows() const {
    return data.background ? training.background_batch_size.value_or(training.batch_size) : 0;
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const RunConfig&) const = default;
};

// Reads a YAML or JSON file strictly, overrides first ("training.steps=100",
// "objective.faithfulness.coefficient=1e6", values as in YAML). Relative paths, also those of overrides, are
// relative to the file's directory; the result's are absolute. Throws ConfigError.
RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides = {},
                          config::Files files = config::Files::must_exist);

// The same of to_json()'s text, whose paths need not lead anywhere. `name` names it in errors.
RunConfig parse_run_config(const std::string& text, const std::string& name);

// Throws ConfigError where a configuration made in memory breaks a rule that a file would have to keep.
void check(const RunConfig& run);

// Every default written out.
std::string to_yaml(const RunConfig& run);
std::string to_json(const RunConfig& run);

// One line each, "training.steps: 100 became 200"; empty when equal.
std::vector<std::string> differences(const RunConfig& before, const RunConfig& after);

// What a reader of the log has to see: one sentence each.
std::vector<std::string> warnings(const RunConfig& run);

// JSON Schema (draft 2020-12) of the file, and the same as a page of Markdown.
std::string json_schema();
std::string reference_markdown();

}  // namespace vpd
