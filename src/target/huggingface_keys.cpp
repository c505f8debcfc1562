// Keys of a config.json beyond those that a family's struct has members for.

#include <algorithm>
#include <iterator>

#include <spdlog/fmt/fmt.h>

#include "huggingface_parts.hpp"
#include "vpd/base/text.hpp"

namespace vpd {
namespace {

using config::Value;

/// Keys without influence on what a model computes.
bool is_harmless(std::string_view key) {
  constexpr std::string_view names[] = {"model_type",
                                        "architectures",
                                        "dtype",
                                        "torch_dtype",
                                        "transformers_version",
                                        "initializer_range",
                                        "use_cache",
                                        "n_ctx",
                                        "reorder_and_upcast_attn",
                                        "pretraining_tp",
                                        "id2label",
                                        "label2id",
                                        "num_labels",
                                        "problem_type",
                                        "task_specific_params",
                                        "tokenizer_class",
                                        "output_attentions",
                                        "output_hidden_states",
                                        "return_dict",
                                        "is_decoder",
                                        "is_encoder_decoder",
                                        "chunk_size_feed_forward",
                                        "attention_dropout",
                                        "torchscript",
                                        "tie_encoder_decoder"};
  if (std::find(std::begin(names), std::end(names), key) != std::end(names)) return true;
  return key.starts_with("_") || key.starts_with("summary_") || key.ends_with("_pdrop") ||
         key.ends_with("_token_id");
}

/// Keys that refuse_what_changes_everything() has looked at.
bool is_refused(std::string_view key) {
  return key == "quantization_config" || key == "pruned_heads" || key == "is_causal" ||
         key == "per_layer_config";
}

bool is_truth(const Value& value, bool truth) {
  const bool* found = std::get_if<bool>(&value.data);
  return found && *found == truth;
}

bool is_filled(const Value& value) {
  if (value.map()) return !value.map()->empty();
  return value.list() ? !value.list()->empty() : !value.is_null();
}

bool is_full_attention(const Value& types) {
  return types.list() && std::all_of(types.list()->begin(), types.list()->end(), [](const Value& type) {
           return type.text() && *type.text() == "full_attention";
         });
}

/// Keys that a family's models do not read, whatever the value, and that belong to its relatives.
struct Unread {
  std::string_view family, key;
  bool (*agrees)(const Value& value);  // with what is computed
};

constexpr Unread unread[] = {
    {"llama", "use_sliding_window", [](const Value& value) { return is_truth(value, false); }},
    {"llama", "layer_types", is_full_attention},
    {"llama", "sliding_window", [](const Value&) { return false; }},
    {"llama", "max_window_layers", [](const Value&) { return true; }},
    {"qwen2", "attention_bias", [](const Value& value) { return is_truth(value, true); }},
    {"qwen2", "mlp_bias", [](const Value& value) { return is_truth(value, false); }},
    {"qwen3", "mlp_bias", [](const Value& value) { return is_truth(value, false); }},
};

const Unread* find_unread(std::string_view family, std::string_view key) {
  const auto* found = std::find_if(std::begin(unread), std::end(unread), [&](const Unread& candidate) {
    return candidate.family == family && candidate.key == key;
  });
  return found == std::end(unread) ? nullptr : found;
}

/// Of Qwen2 and Qwen3: check_window() looks at them.
bool is_window_key(std::string_view family, std::string_view key) {
  return family.starts_with("qwen") && (key == "use_sliding_window" || key == "layer_types" ||
                                        key == "sliding_window" || key == "max_window_layers");
}

}  // namespace

const Value* find_not_null(const Value& file, std::string_view key) {
  const Value* found = file.find(key);
  return found && !found->is_null() ? found : nullptr;
}

void refuse_what_changes_everything(const Value& file) {
  if (const Value* found = find_not_null(file, "quantization_config")) {
    config::fail(found->origin, "quantization_config",
                 "expected weights that are stored as they are used, found a quantised model: save it in "
                 "float32, bf16 or fp16");
  }
  if (const Value* found = file.find("pruned_heads"); found && found->map() && !found->map()->empty()) {
    config::fail(found->origin, "pruned_heads",
                 fmt::format("expected none, found {}: a model with pruned heads is not supported",
                             config::describe_found(*found)));
  }
  if (const Value* found = file.find("is_causal"); found && !is_truth(*found, true)) {
    config::fail(found->origin, "is_causal",
                 fmt::format("expected true, found {}: attention to later positions is not supported",
                             config::describe_found(*found)));
  }
  if (const Value* found = file.find("per_layer_config"); found && is_filled(*found)) {
    config::fail(found->origin, "per_layer_config",
                 fmt::format("expected none, found {}: blocks that differ from each other are not supported",
                             config::describe_found(*found)));
  }
}

Value known_part(const Value& file, const config::Type& type, std::string_view family,
                 std::vector<std::string>& warnings) {
  std::vector<std::string> keys;
  for (const config::Member& member : type.members) keys.emplace_back(member.field.key);
  Value part{Value::Map()};
  part.origin = file.origin;
  for (const config::Entry& entry : *file.map()) {
    if (const Unread* found = find_unread(family, entry.key)) {
      if (entry.value.is_null() || found->agrees(entry.value)) continue;
      warnings.push_back(fmt::format("{}: {}: has no effect where model_type is {}, found {}",
                                     entry.value.origin, entry.key, family,
                                     config::describe_found(entry.value)));
    } else if (std::find(keys.begin(), keys.end(), entry.key) != keys.end()) {
      part.map()->push_back(entry);
    } else if (!is_harmless(entry.key) && !is_refused(entry.key) && !is_window_key(family, entry.key) &&
               !(family != "gpt2" && is_rope_key(entry.key))) {
      const auto likely = nearest(entry.key, keys);
      warnings.push_back(
          fmt::format("{}: unknown key \"{}\" ignored{}", entry.value.origin, entry.key,
                      likely ? fmt::format(" (the nearest known one is \"{}\")", *likely) : ""));
    }
  }
  return part;
}

}  // namespace vpd
