#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vpd/config/field.hpp"

// Shapes and constants of the models that are read from Hugging Face's own layout, as in a checkpoint's
// config.json. Keys and defaults are those of its `transformers` package: a key that a file leaves out has
// the value that the package would give it.

namespace vpd {

enum class GeluForm { tanh, exact };

// The package computes each of the two forms in several ways, which differ in rounding.
constexpr std::array<config::EnumName<GeluForm>, 7> config_names(GeluForm) {
  return {{{GeluForm::tanh, "gelu_new"},
           {GeluForm::tanh, "gelu_pytorch_tanh"},
           {GeluForm::tanh, "gelu_python_tanh"},
           {GeluForm::tanh, "gelu_accurate"},
           {GeluForm::tanh, "gelu_fast"},
           {GeluForm::exact, "gelu"},
           {GeluForm::exact, "gelu_python"}}};
}

struct Gpt2Config {
  static constexpr std::string_view family = "GPT-2";
  static constexpr std::string_view summary = "shapes and constants of a GPT-2";

  std::int64_t vocab_size = 0;
  std::int64_t n_positions = 1024;
  std::int64_t n_embd = 0;
  std::int64_t n_layer = 0;
  std::int64_t n_head = 0;
  std::optional<std::int64_t> n_inner;
  GeluForm activation_function = GeluForm::tanh;
  double layer_norm_epsilon = 1e-5;
  bool tie_word_embeddings = true;
  bool scale_attn_weights = true;
  bool scale_attn_by_inverse_layer_idx = false;
  bool add_cross_attention = false;

  std::int64_t head_width() const { return n_embd / n_head; }
  std::int64_t d_mlp() const { return n_inner.value_or(4 * n_embd); }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("vocab_size", "token ids are below this").required().at_least(1), self.vocab_size);
    visit(field("n_positions", "longest sequence, in tokens").at_least(1), self.n_positions);
    visit(field("n_embd", "width of the residual stream").required().at_least(1), self.n_embd);
    visit(field("n_layer", "blocks").required().at_least(1), self.n_layer);
    visit(field("n_head", "attention heads; a divisor of n_embd").required().at_least(1), self.n_head);
    visit(field("n_inner", "hidden width of the MLP; null: 4 n_embd").at_least(1), self.n_inner);
    visit(field("activation_function", "between the matrices of the MLP"), self.activation_function);
    visit(field("layer_norm_epsilon", "added to the variance in the norms").more_than(0),
          self.layer_norm_epsilon);
    visit(field("tie_word_embeddings", "whether the head is the embedding"), self.tie_word_embeddings);
    visit(field("scale_attn_weights", "scores over the root of a head's width"), self.scale_attn_weights);
    visit(field("scale_attn_by_inverse_layer_idx", "scores over the block's number too"),
          self.scale_attn_by_inverse_layer_idx);
    visit(field("add_cross_attention", "attention to an encoder"), self.add_cross_attention);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const Gpt2Config&) const = default;
};

enum class RopeType { standard, linear, llama3 };

constexpr std::array<config::EnumName<RopeType>, 3> config_names(RopeType) {
  return {{{RopeType::standard, "default"}, {RopeType::linear, "linear"}, {RopeType::llama3, "llama3"}}};
}

// Rotary embedding and how its frequencies are stretched: rope_parameters of newer files, rope_scaling of
// older ones.
struct RopeParameters {
  static constexpr std::string_view summary = "rotary embedding";

  RopeType rope_type = RopeType::standard;
  double rope_theta = 10000.0;
  std::optional<double> factor;
  std::optional<double> low_freq_factor;
  std::optional<double> high_freq_factor;
  std::optional<std::int64_t> original_max_position_embeddings;
  double partial_rotary_factor = 1.0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("rope_type", "how frequencies are stretched"), self.rope_type);
    visit(field("rope_theta", "base of the rotary angles").more_than(0), self.rope_theta);
    visit(field("factor", "linear, llama3: how far").more_than(0), self.factor);
    visit(field("low_freq_factor", "llama3: waves longer than the original context over this are stretched")
              .more_than(0),
          self.low_freq_factor);
    visit(field("high_freq_factor", "llama3: shorter ones than the original context over this are not")
              .more_than(0),
          self.high_freq_factor);
    visit(field("original_max_position_embeddings", "llama3: the original context").at_least(1),
          self.original_max_position_embeddings);
    visit(field("partial_rotary_factor", "share of a head that is rotated"), self.partial_rotary_factor);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const RopeParameters&) const = default;
};

enum class GatedActivation { silu };

constexpr std::array<config::EnumName<GatedActivation>, 2> config_names(GatedActivation) {
  return {{{GatedActivation::silu, "silu"}, {GatedActivation::silu, "swish"}}};
}

enum class LlamaFamily { llama, qwen2, qwen3 };

// Llama and what is built like it: Qwen2 (biases of q, k and v) and Qwen3 (norms of each head of q and k).
struct LlamaConfig {
  static constexpr std::string_view summary = "shapes and constants of a Llama, a Qwen2 or a Qwen3";

  LlamaFamily family = LlamaFamily::llama;  // the file's model_type
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::optional<std::int64_t> num_key_value_heads;
  std::optional<std::int64_t> head_dim;
  GatedActivation hidden_act = GatedActivation::silu;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  RopeParameters rope;  // not a key of this name: see RopeParameters

  std::int64_t key_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  std::int64_t head_width() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  bool qkv_bias() const { return family == LlamaFamily::qwen2 || attention_bias; }
  bool output_bias() const { return family != LlamaFamily::qwen2 && attention_bias; }
  bool head_norms() const { return family == LlamaFamily::qwen3; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("vocab_size", "token ids are below this").required().at_least(1), self.vocab_size);
    visit(field("hidden_size", "width of the residual stream").required().at_least(1), self.hidden_size);
    visit(field("intermediate_size", "hidden width of the MLP").required().at_least(1),
          self.intermediate_size);
    visit(field("num_hidden_layers", "blocks").required().at_least(1), self.num_hidden_layers);
    visit(field("num_attention_heads", "query heads").required().at_least(1), self.num_attention_heads);
    visit(field("num_key_value_heads", "key and value heads; null: as many as query heads").at_least(1),
          self.num_key_value_heads);
    visit(field("head_dim", "width of a head; null: hidden_size / num_attention_heads").at_least(1),
          self.head_dim);
    visit(field("hidden_act", "of the gate"), self.hidden_act);
    visit(field("max_position_embeddings", "longest sequence, in tokens").required().at_least(1),
          self.max_position_embeddings);
    visit(field("rms_norm_eps", "added to the mean square in the norms").more_than(0), self.rms_norm_eps);
    visit(field("tie_word_embeddings", "whether the head is the embedding"), self.tie_word_embeddings);
    visit(field("attention_bias", "biases in attention"), self.attention_bias);
    visit(field("mlp_bias", "biases in the MLP"), self.mlp_bias);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const LlamaConfig&) const = default;
};

using HuggingFaceConfig = std::variant<Gpt2Config, LlamaConfig>;

// "GPT-2", "Llama", "Qwen2", "Qwen3".
std::string family_of(const HuggingFaceConfig& model);

// Reads a config.json. What does not change what the model computes is passed over: silently where it is
// known (dropout, token ids, dtype of the files ...), with a warning where it is not. DataError for a
// model_type that is not supported, which names those that are, for a value that is wrong, and for one that
// this program cannot compute with, by the key's name.
HuggingFaceConfig read_huggingface_config(const std::filesystem::path& path,
                                          std::vector<std::string>& warnings);

// What was understood of it, as JSON.
std::string huggingface_config_json(const HuggingFaceConfig& model);

}  // namespace vpd
