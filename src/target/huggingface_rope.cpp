// Rotary embedding in a config.json: rope_parameters {rope_theta, rope_type, ...} of newer files, and
// rope_theta beside rope_scaling {rope_type (or type), ...} of older ones. A file may have both, as when
// rope_scaling was added by hand.

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "huggingface_parts.hpp"

namespace vpd {
namespace {

using config::Complaint;
using config::Value;

/// What `transformers` takes for nothing stands for nothing: null, false and {}.
const Value* find_filled(const Value& file, std::string_view key) {
  const Value* found = find_not_null(file, key);
  if (!found || (found->map() && found->map()->empty())) return nullptr;
  const bool* truth = std::get_if<bool>(&found->data);
  return truth && !*truth ? nullptr : found;
}

/// The map with `type` under its newer name and without nulls.
Value normalised(Value map) {
  if (!map.map()) return map;
  const bool named = map.find("rope_type") != nullptr;
  for (config::Entry& entry : *map.map()) {
    if (entry.key == "type" && !named) entry.key = "rope_type";
  }
  std::erase_if(*map.map(), [](const config::Entry& entry) {
    return entry.key == "type" || (entry.value.is_null() && entry.key != "rope_type");
  });
  return map;
}

/// Whether frequencies of this type depend on the key.
bool reads(RopeType type, std::string_view key) {
  if (key == "rope_type" || key == "rope_theta" || key == "partial_rotary_factor") return true;
  if (key == "factor") return type != RopeType::standard;
  return type == RopeType::llama3 &&
         (key == "low_freq_factor" || key == "high_freq_factor" || key == "original_max_position_embeddings");
}

/// Takes what does not count out of the map.
void drop_unread(Value& map, RopeType type, const std::string& path, std::vector<std::string>& warnings) {
  std::erase_if(*map.map(), [&](const config::Entry& entry) {
    if (reads(type, entry.key)) return false;
    // The context length is told to people who read the file, and dividing by 1 does nothing.
    const std::string text = config::to_yaml_line(entry.value);
    const bool is_one = text == "1" || text == "1.0";
    if (entry.key != "original_max_position_embeddings" && !(entry.key == "factor" && is_one)) {
      warnings.push_back(fmt::format("{}: {}: has no effect with rope_type {}", entry.value.origin,
                                     config::join(path, entry.key),
                                     config::to_yaml_line(config::value_of(type))));
    }
    return true;
  });
}

bool same(const Value& a, const Value& b) { return config::to_json(a) == config::to_json(b); }

}  // namespace

bool is_rope_key(std::string_view key) {
  return key == "rope_parameters" || key == "rope_scaling" || key == "rope_theta" ||
         key == "partial_rotary_factor" || key == "original_max_position_embeddings";
}

RopeParameters read_rope(const Value& file, std::int64_t context, std::vector<std::string>& warnings) {
  const Value *scaling = find_filled(file, "rope_scaling"),
              *parameters = find_filled(file, "rope_parameters");
  // The whole of rope_scaling takes the place of the whole of rope_parameters, rope_theta among it.
  const std::string path = parameters && !scaling ? "rope_parameters" : "rope_scaling";
  Value map{Value::Map()};
  map.origin = file.origin;
  if (scaling || parameters) map = normalised(scaling ? *scaling : *parameters);
  if (map.map()) {
    for (const char* outside : {"rope_theta", "partial_rotary_factor"}) {
      const Value *found = find_not_null(file, outside), *inside = map.find(outside);
      if (!found) continue;
      if (!inside) {
        map.map()->push_back({outside, *found});
      } else if (!same(*found, *inside)) {
        warnings.push_back(fmt::format("{}: {}: has no effect beside {}, which is {}", found->origin, outside,
                                       config::join(path, outside), config::to_yaml_line(*inside)));
      }
    }
    // A type that is not supported is named before the keys that come with it.
    RopeType type = RopeType::standard;
    if (const Value* found = map.find("rope_type"))
      type = read_as<RopeType>(*found, config::join(path, "rope_type"));
    drop_unread(map, type, path, warnings);
    // One key outside has precedence over that inside.
    const Value* original = find_not_null(file, "original_max_position_embeddings");
    if (original && type == RopeType::llama3) {
      std::erase_if(*map.map(), [&](const config::Entry& entry) {
        if (entry.key != "original_max_position_embeddings") return false;
        if (!same(entry.value, *original)) {
          warnings.push_back(fmt::format("{}: {}: has no effect beside {} outside of it, which is {}",
                                         entry.value.origin, config::join(path, entry.key), entry.key,
                                         config::to_yaml_line(*original)));
        }
        return true;
      });
      map.map()->push_back({"original_max_position_embeddings", *original});
    }
  }
  auto rope = read_as<RopeParameters>(std::move(map), path);
  if (scaling && parameters && !same(normalised(*scaling), normalised(*parameters))) {
    warnings.push_back(fmt::format(
        "{}: rope_parameters: has no effect beside rope_scaling, which takes its place: rope_type is {} and "
        "rope_theta is {}",
        parameters->origin, config::to_yaml_line(config::value_of(rope.rope_type)), rope.rope_theta));
  }
  if (!rope.original_max_position_embeddings) rope.original_max_position_embeddings = context;
  return rope;
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

}  // namespace vpd
