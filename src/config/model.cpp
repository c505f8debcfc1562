#include <algorithm>

#include <spdlog/fmt/fmt.h>
#include <vpd/base/error.hpp>
#include <vpd/base/text.hpp>
#include <vpd/config/model.hpp>
#include <vpd/config/reflection.hpp>

namespace vpd {
namespace {

// What a checkpoint's file says beyond ModelConfig. Each follows from the others; one that does not is a
// model that this program would compute wrongly.
struct CheckpointKeys {
  static constexpr std::string_view summary = "keys of a checkpoint that follow from the others";
  std::string model_type = "LlamaSimpleMLP";
  std::optional<std::int64_t> rotary_dim;
  std::optional<bool> use_grouped_query_attention;
  std::optional<bool> flash_attention;  // a way to compute, without influence on what is computed
  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& visit) {
    using config::field;
    visit(field("model_type", "the model's family").matching("LlamaSimpleMLP", "LlamaSimpleMLP"),
          self.model_type);
    visit(field("rotary_dim", "rotated entries of a head"), self.rotary_dim);
    visit(field("use_grouped_query_attention", "whether there may be fewer key and value heads"),
          self.use_grouped_query_attention);
    visit(field("flash_attention", "how attention was computed"), self.flash_attention);
  }
};

bool knows(const config::Type& type, const std::string& key) {
  return std::any_of(type.members.begin(), type.members.end(),
                     [&](const config::Member& member) { return member.field.key == key; });
}

std::vector<std::string> keys_of(const config::Type& a, const config::Type& b) {
  std::vector<std::string> keys;
  for (const config::Member& member : a.members) keys.emplace_back(member.field.key);
  for (const config::Member& member : b.members) keys.emplace_back(member.field.key);
  return keys;
}

ModelConfig parse(const config::Value& file, const std::string& name, std::vector<std::string>& warnings) {
  const config::Type model_type = config::type_of<ModelConfig>();
  const config::Type extra_type = config::type_of<CheckpointKeys>();
  VPD_CHECK(file.map(), DataError, "{}: expected the keys of a model, found {}", name,
            config::describe_found(file));

  config::Value model_part{config::Value::Map()}, extra_part{config::Value::Map()};
  model_part.origin = extra_part.origin = name;
  for (const config::Entry& entry : *file.map()) {
    if (knows(model_type, entry.key)) {
      // A null key-value head count means "as many as query heads", as an absent one does.
      if (entry.key == "n_key_value_heads" && entry.value.is_null()) continue;
      model_part.map()->push_back(entry);
    } else if (knows(extra_type, entry.key)) {
      extra_part.map()->push_back(entry);
    } else {
      const auto likely = nearest(entry.key, keys_of(model_type, extra_type));
      warnings.push_back(
          fmt::format("{}: unknown key \"{}\" ignored{}", entry.value.origin, entry.key,
                      likely ? fmt::format(" (the nearest known one is \"{}\")", *likely) : ""));
    }
  }
  if (!model_part.find("n_key_value_heads") && model_part.find("n_head")) {
    model_part.map()->push_back({"n_key_value_heads", *model_part.find("n_head")});
  }

  const auto extra = config::from_value<CheckpointKeys>(std::move(extra_part), extra_type, {});
  const auto model = config::from_value<ModelConfig>(std::move(model_part), model_type, {});
  VPD_CHECK(!extra.rotary_dim || *extra.rotary_dim == model.head_dim(), DataError,
            "{}: rotary_dim: expected n_embd / n_head, which is {}, found {}, and partial rotation is not "
            "supported",
            name, model.head_dim(), *extra.rotary_dim);
  VPD_CHECK(extra.use_grouped_query_attention.value_or(true) || model.n_key_value_heads == model.n_head,
            DataError,
            "{}: n_key_value_heads: expected n_head, which is {}, while use_grouped_query_attention is "
            "false, found {}",
            name, model.n_head, model.n_key_value_heads);
  return model;
}

}  // namespace

std::optional<config::Complaint> ModelConfig::validate() const {
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

ModelConfig read_model_config(const std::filesystem::path& path, std::vector<std::string>& warnings) {
  try {
    return parse(config::read_file(path), path.string(), warnings);
  } catch (const ConfigError& error) {
    throw DataError(error.what());  // a target is data to the run that names it
  }
}

std::string model_config_json(const ModelConfig& model) {
  config::Value value = config::value_of(model);
  if (config::Value& n_ctx = *value.find("n_ctx"); n_ctx.is_null()) n_ctx = config::Value(model.block_size);
  config::Value::Map& map = *value.map();
  map.insert(map.begin(), {"model_type", config::Value(std::string("LlamaSimpleMLP"))});
  map.push_back({"rotary_dim", config::Value(model.head_dim())});
  map.push_back({"use_grouped_query_attention", config::Value(true)});
  map.push_back({"flash_attention", config::Value(true)});
  return config::to_json(value);
}

}  // namespace vpd
