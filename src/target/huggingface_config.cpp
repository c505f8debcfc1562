#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "huggingface_parts.hpp"
#include "vpd/base/error.hpp"

namespace vpd {
namespace {

using config::Complaint;
using config::Value;

constexpr std::array<std::string_view, 4> model_types = {"gpt2", "llama", "qwen2", "qwen3"};

Complaint unsupported(std::string key, const char* expected, const std::string& found) {
  return {std::move(key), fmt::format("expected {}, found {}: this is not supported", expected, found)};
}

/// GPT-2's other names for four of its keys, which have precedence.
void take_aliases(Value& file, std::vector<std::string>& warnings) {
  constexpr std::pair<const char*, const char*> names[] = {{"hidden_size", "n_embd"},
                                                           {"max_position_embeddings", "n_positions"},
                                                           {"num_attention_heads", "n_head"},
                                                           {"num_hidden_layers", "n_layer"}};
  for (const auto& [alias, key] : names) {
    const Value* found = file.find(alias);
    if (!found) continue;
    Value value = *found;
    if (const Value* other = file.find(key); other && config::to_json(*other) != config::to_json(value)) {
      warnings.push_back(fmt::format("{}: {}: has no effect beside {}, which is {}", other->origin, key,
                                     alias, config::to_yaml_line(value)));
    }
    std::erase_if(*file.map(),
                  [&](const config::Entry& entry) { return entry.key == alias || entry.key == key; });
    file.map()->push_back({key, std::move(value)});
  }
}

Gpt2Config read_gpt2(Value file, std::vector<std::string>& warnings) {
  take_aliases(file, warnings);
  return read_as<Gpt2Config>(known_part(file, config::type_of<Gpt2Config>(), "gpt2", warnings), "");
}

/// Qwen2 and Qwen3 can attend to the nearest positions alone, in some blocks or in all. Throws ConfigError
/// where that leaves anything out of the longest sequence.
void check_window(const Value& file, const LlamaConfig& model) {
  const auto refuse = [&](const Complaint& complaint) {
    const Value* found = file.find(complaint.where);
    config::fail(found->origin, complaint.where, complaint.text);
  };
  std::optional<std::int64_t> window;
  if (value_or(file, "use_sliding_window", false))
    window = value_or<std::optional<std::int64_t>>(file, "sliding_window", 4096);
  const auto from = value_or<std::int64_t>(file, "max_window_layers", 28);
  const auto types = value_or<std::optional<std::vector<std::string>>>(file, "layer_types", std::nullopt);
  const bool reaches_all = window && *window >= model.max_position_embeddings;
  if (!types) {
    if (window && !reaches_all && from < model.num_hidden_layers)
      refuse(unsupported("use_sliding_window", "false", "true"));
    return;
  }
  for (const std::string& type : *types) {
    if (type == "full_attention" || (type == "sliding_attention" && reaches_all)) continue;
    refuse(unsupported("layer_types", "full_attention everywhere", fmt::format("\"{}\"", type)));
  }
}

LlamaConfig read_llama(const Value& file, LlamaFamily family, std::vector<std::string>& warnings) {
  Value part = known_part(file, config::type_of<LlamaConfig>(), *file.find("model_type")->text(), warnings);
  const auto set_default = [&](const char* key, std::int64_t value) {
    if (part.find(key)) return;
    part.map()->push_back({key, Value(value)});
    part.map()->back().value.origin = file.origin;
  };
  if (family == LlamaFamily::qwen3) set_default("head_dim", 128);
  if (family != LlamaFamily::llama) set_default("num_key_value_heads", 32);
  auto model = read_as<LlamaConfig>(std::move(part), "");
  model.family = family;
  model.rope = read_rope(file, model.max_position_embeddings, warnings);
  if (family != LlamaFamily::llama) check_window(file, model);
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
