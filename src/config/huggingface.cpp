#include <algorithm>
#include <iterator>

#include <spdlog/fmt/fmt.h>
#include <vpd/base/error.hpp>
#include <vpd/base/text.hpp>
#include <vpd/config/huggingface.hpp>
#include <vpd/config/reflection.hpp>

namespace vpd {
namespace {

using config::Complaint;
using config::Value;

constexpr std::array<std::string_view, 4> model_types = {"gpt2", "llama", "qwen2", "qwen3"};

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
                                        "sliding_window",
                                        "max_window_layers",
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

/// Keys that a family's models do not read, whatever the value.
bool is_foreign(std::string_view key, LlamaFamily family) {
  if (key == "attention_bias") return family == LlamaFamily::qwen2;
  if (key == "mlp_bias") return family != LlamaFamily::llama;
  if (key == "use_sliding_window" || key == "layer_types") return family == LlamaFamily::llama;
  return false;
}

/// What changes every model of every family, and is not null or empty.
void refuse_what_changes_everything(const Value& file) {
  if (const Value* found = file.find("quantization_config"); found && !found->is_null()) {
    config::fail(found->origin, "quantization_config",
                 "expected weights that are stored as they are used, found a quantised model: save it in "
                 "float32, bf16 or fp16");
  }
  if (const Value* found = file.find("pruned_heads"); found && found->map() && !found->map()->empty()) {
    config::fail(found->origin, "pruned_heads",
                 fmt::format("expected none, found {}: a model with pruned heads is not supported",
                             config::describe_found(*found)));
  }
}

/// The entries of `file` that `type` has members for; the others are passed over, and those of them that
/// nobody knows become warnings.
template <class Refuses>
Value known_part(const Value& file, const config::Type& type, const Refuses& handled_elsewhere,
                 std::vector<std::string>& warnings) {
  std::vector<std::string> keys;
  for (const config::Member& member : type.members) keys.emplace_back(member.field.key);
  Value part{Value::Map()};
  part.origin = file.origin;
  for (const config::Entry& entry : *file.map()) {
    if (handled_elsewhere(entry.key)) continue;
    if (std::find(keys.begin(), keys.end(), entry.key) != keys.end()) {
      part.map()->push_back(entry);
    } else if (!is_harmless(entry.key) && entry.key != "quantization_config" && entry.key != "pruned_heads") {
      const auto likely = nearest(entry.key, keys);
      warnings.push_back(
          fmt::format("{}: unknown key \"{}\" ignored{}", entry.value.origin, entry.key,
                      likely ? fmt::format(" (the nearest known one is \"{}\")", *likely) : ""));
    }
  }
  return part;
}

template <class T>
T read_as(Value value, const std::string& path) {
  const config::Type type = config::type_of<T>();
  config::accept(value, type, path, {});
  T object;
  config::assign(object, value, path);
  return object;
}

Gpt2Config read_gpt2(const Value& file, std::vector<std::string>& warnings) {
  const auto nothing = [](std::string_view) { return false; };
  return read_as<Gpt2Config>(known_part(file, config::type_of<Gpt2Config>(), nothing, warnings), "");
}

const Value* find_not_null(const Value& file, std::string_view key) {
  const Value* found = file.find(key);
  return found && !found->is_null() ? found : nullptr;
}

/// rope_parameters {rope_theta, rope_type, ...}, or rope_theta beside rope_scaling {rope_type (or type),
/// ...}.
RopeParameters read_rope(const Value& file, std::int64_t context) {
  const char* key = find_not_null(file, "rope_parameters") ? "rope_parameters" : "rope_scaling";
  Value map{Value::Map()};
  map.origin = file.origin;
  if (const Value* found = find_not_null(file, key)) map = *found;
  if (map.map()) {
    Value::Map& entries = *map.map();
    const bool named = map.find("rope_type") != nullptr;
    for (config::Entry& entry : entries) {
      if (entry.key == "type" && !named) entry.key = "rope_type";
    }
    std::erase_if(entries, [](const config::Entry& entry) {
      return entry.key == "type" || (entry.value.is_null() && entry.key != "rope_type");
    });
    for (const char* outside : {"rope_theta", "partial_rotary_factor"}) {
      const Value* found = find_not_null(file, outside);
      if (found && !map.find(outside)) entries.push_back({outside, *found});
    }
    // A type that is not supported is named before the keys that come with it.
    if (const Value* type = map.find("rope_type")) read_as<RopeType>(*type, config::join(key, "rope_type"));
  }
  auto rope = read_as<RopeParameters>(std::move(map), key);
  if (!rope.original_max_position_embeddings) rope.original_max_position_embeddings = context;
  return rope;
}

LlamaConfig read_llama(const Value& file, LlamaFamily family, std::vector<std::string>& warnings) {
  const auto elsewhere = [&](std::string_view key) {
    return key == "rope_parameters" || key == "rope_scaling" || key == "rope_theta" ||
           key == "partial_rotary_factor" || is_foreign(key, family);
  };
  Value part = known_part(file, config::type_of<LlamaConfig>(), elsewhere, warnings);
  if (family == LlamaFamily::qwen3 && !part.find("head_dim"))
    part.map()->push_back({"head_dim", Value(std::int64_t{128})});
  auto model = read_as<LlamaConfig>(std::move(part), "");
  model.family = family;
  model.rope = read_rope(file, model.max_position_embeddings);
  return model;
}

HuggingFaceConfig parse(const Value& file, const std::string& name, std::vector<std::string>& warnings) {
  VPD_CHECK(file.map(), DataError, "{}: expected the keys of a model, found {}", name,
            config::describe_found(file));
  const Value* type = file.find("model_type");
  VPD_CHECK(type && type->text() &&
                std::find(model_types.begin(), model_types.end(), *type->text()) != model_types.end(),
            DataError, "{}: model_type: expected one of {}, found {}", name, fmt::join(model_types, ", "),
            type ? config::describe_found(*type) : "no such key");
  refuse_what_changes_everything(file);
  const std::string& family = *type->text();
  if (family == "gpt2") return read_gpt2(file, warnings);
  if (family == "llama") return read_llama(file, LlamaFamily::llama, warnings);
  return read_llama(file, family == "qwen2" ? LlamaFamily::qwen2 : LlamaFamily::qwen3, warnings);
}

Complaint unsupported(std::string key, const char* expected, const char* found) {
  return {std::move(key), fmt::format("expected {}, found {}: this is not supported", expected, found)};
}

}  // namespace

std::optional<Complaint> Gpt2Config::validate() const {
  if (n_embd % n_head != 0) {
    return Complaint{"n_head",
                     fmt::format("expected a divisor of n_embd, which is {}, found {}", n_embd, n_head)};
  }
  if (!scale_attn_weights) return unsupported("scale_attn_weights", "true", "false");
  if (scale_attn_by_inverse_layer_idx) return unsupported("scale_attn_by_inverse_layer_idx", "false", "true");
  if (add_cross_attention) return unsupported("add_cross_attention", "false", "true");
  return std::nullopt;
}

std::optional<Complaint> RopeParameters::validate() const {
  const auto missing = [&](const char* key) {
    return Complaint{key, fmt::format("expected a number above 0 with rope_type {}, found no such key",
                                      rope_type == RopeType::linear ? "linear" : "llama3")};
  };
  if (partial_rotary_factor != 1.0) {
    return Complaint{
        "partial_rotary_factor",
        fmt::format("expected 1, found {}: partial rotation is not supported", partial_rotary_factor)};
  }
  if (rope_type == RopeType::standard) return std::nullopt;
  if (!factor) return missing("factor");
  if (rope_type == RopeType::linear) return std::nullopt;
  if (!low_freq_factor) return missing("low_freq_factor");
  if (!high_freq_factor) return missing("high_freq_factor");
  if (*high_freq_factor <= *low_freq_factor) {
    return Complaint{"high_freq_factor",
                     fmt::format("expected a number above low_freq_factor, which is {}, found {}",
                                 *low_freq_factor, *high_freq_factor)};
  }
  return std::nullopt;
}

std::optional<Complaint> LlamaConfig::validate() const {
  if (!head_dim && hidden_size % num_attention_heads != 0) {
    return Complaint{
        "num_attention_heads",
        fmt::format("expected a divisor of hidden_size, which is {}, where there is no head_dim, "
                    "found {}",
                    hidden_size, num_attention_heads)};
  }
  if (head_width() % 2 != 0) {
    return Complaint{
        "head_dim",
        fmt::format("expected an even width (rotary embedding turns pairs), found {}", head_width())};
  }
  if (num_attention_heads % key_heads() != 0) {
    return Complaint{"num_key_value_heads",
                     fmt::format("expected a divisor of num_attention_heads, which is {}, found {}",
                                 num_attention_heads, key_heads())};
  }
  if (use_sliding_window) return unsupported("use_sliding_window", "false", "true");
  for (const std::string& type : layer_types.value_or(std::vector<std::string>{})) {
    if (type != "full_attention")
      return unsupported("layer_types", "full_attention everywhere", fmt::format("\"{}\"", type).c_str());
  }
  return std::nullopt;
}

std::string family_of(const HuggingFaceConfig& model) {
  const auto* llama = std::get_if<LlamaConfig>(&model);
  if (!llama) return std::string(Gpt2Config::family);
  switch (llama->family) {
    case LlamaFamily::qwen2:
      return "Qwen2";
    case LlamaFamily::qwen3:
      return "Qwen3";
    default:
      return "Llama";
  }
}

HuggingFaceConfig read_huggingface_config(const std::filesystem::path& path,
                                          std::vector<std::string>& warnings) {
  try {
    return parse(config::read_file(path), path.string(), warnings);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a target is data to the run that names it
  }
}

std::string huggingface_config_json(const HuggingFaceConfig& model) {
  Value value = std::visit([](const auto& family) { return config::value_of(family); }, model);
  value.map()->insert(value.map()->begin(), {"family", Value(family_of(model))});
  if (const auto* llama = std::get_if<LlamaConfig>(&model))
    value.map()->push_back({"rope_parameters", config::value_of(llama->rope)});
  return config::to_json(value);
}

}  // namespace vpd
