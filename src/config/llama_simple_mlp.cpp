#include "vpd/config/llama_simple_mlp.hpp"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/reflection.hpp"

namespace vpd {
namespace {

// What a checkpoint's file says beyond LlamaSimpleMlpConfig.
struct CheckpointKeys {
  static constexpr std::string_view summary = "keys of a checkpoint beside its shapes and constants";
  std::string model_type = "LlamaSimpleMLP";
  std::optional<bool> use_grouped_query_attention, tie_word_embeddings, attention_sinks;
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("model_type", "the model's family").matching("LlamaSimpleMLP", "LlamaSimpleMLP"),
          self.model_type);
    visit(field("use_grouped_query_attention", "whether there may be fewer key and value heads"),
          self.use_grouped_query_attention);
    visit(field("tie_word_embeddings", "whether the head is the embedding"), self.tie_word_embeddings);
    visit(field("attention_sinks", "one more logit of each head"), self.attention_sinks);
  }
  std::optional<config::Complaint> validate() const {
    if (!attention_sinks.value_or(false)) return std::nullopt;
    return config::Complaint{"attention_sinks", "expected false, found true: this is not supported"};
  }
};

// Keys that say nothing about what is computed: the original code takes the width of a head for rotary_dim,
// and its two ways to attend give the same.
constexpr std::string_view rotary_dim = "rotary_dim", flash_attention = "flash_attention";

bool knows(const config::Type& type, std::string_view key) {
  return std::any_of(type.members.begin(), type.members.end(),
                     [&](const config::Member& member) { return member.field.key == key; });
}

std::vector<std::string> keys_of(const config::Type& a, const config::Type& b) {
  std::vector<std::string> keys;
  for (const config::Member& member : a.members) keys.emplace_back(member.field.key);
  for (const config::Member& member : b.members) keys.emplace_back(member.field.key);
  return keys;
}

// A key that the original code does not read may be left over from another model; one that says something
// else than what is computed gets a warning.
void warn_of_unread(const config::Value* found, std::string_view key, std::int64_t computed,
                    const char* meaning, std::vector<std::string>& warnings) {
  if (!found || found->is_null()) return;
  const auto* whole = std::get_if<std::int64_t>(&found->data);
  const double* number = std::get_if<double>(&found->data);
  if ((whole && *whole == computed) || (number && *number == static_cast<double>(computed))) return;
  warnings.push_back(fmt::format("{}: {}: has no effect, found {}: {} is {}", found->origin, key,
                                 config::describe_found(*found), meaning, computed));
}

LlamaSimpleMlpConfig parse(const config::Value& file, const std::string& name,
                           std::vector<std::string>& warnings) {
  const config::Type model_type = config::type_of<LlamaSimpleMlpConfig>();
  const config::Type extra_type = config::type_of<CheckpointKeys>();
  VPD_CHECK(file.map(), DataError, "{}: expected the keys of a model, found {}", name,
            config::describe_found(file));

  config::Value model_part{config::Value::Map()}, extra_part{config::Value::Map()};
  model_part.origin = extra_part.origin = name;
  for (const config::Entry& entry : *file.map()) {
    if (knows(model_type, entry.key)) {
      model_part.map()->push_back(entry);
    } else if (knows(extra_type, entry.key)) {
      extra_part.map()->push_back(entry);
    } else if (entry.key != rotary_dim && entry.key != flash_attention) {
      const auto likely = nearest(entry.key, keys_of(model_type, extra_type));
      warnings.push_back(
          fmt::format("{}: unknown key \"{}\" ignored{}", entry.value.origin, entry.key,
                      likely ? fmt::format(" (the nearest known one is \"{}\")", *likely) : ""));
    }
  }
  const auto extra = config::from_value<CheckpointKeys>(std::move(extra_part), extra_type, {});
  const bool grouped = extra.use_grouped_query_attention.value_or(true);
  // A null key-value head count means "as many as query heads", as an absent one does.
  constexpr const char* key_value = "n_key_value_heads";
  const config::Value* heads = file.find(key_value);
  if (!grouped || !heads || heads->is_null()) {
    std::erase_if(*model_part.map(), [&](const config::Entry& entry) { return entry.key == key_value; });
    if (const config::Value* queries = file.find("n_head"))
      model_part.map()->push_back({key_value, *queries});
  }
  auto model = config::from_value<LlamaSimpleMlpConfig>(std::move(model_part), model_type, {});
  model.tied_head = extra.tie_word_embeddings.value_or(true);
  warn_of_unread(file.find(rotary_dim), rotary_dim, model.head_dim(),
                 "the whole of a head is rotated, whose width", warnings);
  if (!grouped) {
    warn_of_unread(heads, key_value, model.n_head,
                   "without use_grouped_query_attention there are as many as query heads, whose number",
                   warnings);
  }
  return model;
}

}  // namespace

std::optional<config::Complaint> LlamaSimpleMlpConfig::validate() const {
  if (n_embd % n_head != 0 || n_embd / n_head % 2 != 0) {
    return config::Complaint{
        "n_head", fmt::format("expected a number that divides n_embd, which is {}, into even parts "
                              "(rotary embedding turns pairs), found {}",
                              n_embd, n_head)};
  }
  if (n_head % n_key_value_heads != 0) {
    return config::Complaint{
        "n_key_value_heads",
        fmt::format("expected a divisor of n_head, which is {}, found {}", n_head, n_key_value_heads)};
  }
  return std::nullopt;
}

LlamaSimpleMlpConfig read_model_config(const std::filesystem::path& path,
                                       std::vector<std::string>& warnings) {
  try {
    return parse(config::read_file(path), path.string(), warnings);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a target is data to the run that names it
  }
}

std::string model_config_json(const LlamaSimpleMlpConfig& model) {
  config::Value value = config::value_of(model);
  if (config::Value& n_ctx = *value.find("n_ctx"); n_ctx.is_null()) n_ctx = config::Value(model.block_size);
  config::Value::Map& map = *value.map();
  map.insert(map.begin(), {"model_type", config::Value(std::string("LlamaSimpleMLP"))});
  map.push_back({"rotary_dim", config::Value(model.head_dim())});
  map.push_back({"use_grouped_query_attention", config::Value(true)});
  map.push_back({"flash_attention", config::Value(true)});
  if (!model.tied_head) map.push_back({"tie_word_embeddings", config::Value(false)});
  return config::to_json(value);
}

}  // namespace vpd
