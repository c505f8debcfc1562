#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/config/field.hpp"

// Shapes and constants of a LlamaSimpleMLP, as in a checkpoint's model_config.{yaml,json}.

namespace vpd {

struct LlamaSimpleMlpConfig {
  static constexpr std::string_view kind = "llama_simple_mlp";
  static constexpr std::string_view summary = "shapes and constants of a LlamaSimpleMLP";

  std::int64_t vocab_size = 0;
  std::int64_t n_layer = 0;
  std::int64_t n_head = 0;
  std::int64_t n_embd = 0;
  std::int64_t n_intermediate = 0;
  std::int64_t n_key_value_heads = 0;
  std::int64_t block_size = 0;
  std::optional<std::int64_t> n_ctx;
  double rotary_base = 10000.0;
  bool rotary_adjacent_pairs = false;
  double rms_norm_eps = 1e-6;
  bool attn_bias = false;
  bool mlp_bias = false;
  bool tied_head = true;  // tie_word_embeddings of a checkpoint; not a key of a run's configuration

  std::int64_t head_dim() const { return n_embd / n_head; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("vocab_size", "token ids are below this").required().at_least(1), self.vocab_size);
    visit(field("n_layer", "blocks").required().at_least(1), self.n_layer);
    visit(field("n_head", "query heads; divides n_embd into even parts").required().at_least(1), self.n_head);
    visit(field("n_embd", "width of the residual stream").required().at_least(1), self.n_embd);
    visit(field("n_intermediate", "hidden width of the MLP").required().at_least(1), self.n_intermediate);
    visit(field("n_key_value_heads", "key and value heads, a divisor of n_head").required().at_least(1),
          self.n_key_value_heads);
    visit(field("block_size", "longest sequence, in tokens").required().at_least(1), self.block_size);
    visit(field("n_ctx", "longest sequence that the rotary table was made for; null: block_size").at_least(1),
          self.n_ctx);
    visit(field("rotary_base", "base of the rotary angles").more_than(0), self.rotary_base);
    visit(field("rotary_adjacent_pairs", "true: rotate neighbours; false: rotate the two halves of a head"),
          self.rotary_adjacent_pairs);
    visit(field("rms_norm_eps", "added to the mean square in the norms").more_than(0), self.rms_norm_eps);
    visit(field("attn_bias", "biases in attention"), self.attn_bias);
    visit(field("mlp_bias", "biases in the MLP"), self.mlp_bias);
  }

  std::optional<config::Complaint> validate() const;
  bool operator==(const LlamaSimpleMlpConfig&) const = default;
};

// Reads the model_config.yaml or .json of a checkpoint. Unknown keys become a warning each, since checkpoints
// in the wild carry more, and so do keys that the original code never reads where they contradict what it
// computes; a value that is wrong, or that this program cannot compute with, is a DataError.
LlamaSimpleMlpConfig read_model_config(const std::filesystem::path& path, std::vector<std::string>& warnings);

// The text of a model_config.json with every key of the format, those that follow from others among them.
std::string model_config_json(const LlamaSimpleMlpConfig& model);

}  // namespace vpd
