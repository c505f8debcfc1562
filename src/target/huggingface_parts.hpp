#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/config/reflection.hpp"
#include "vpd/target/huggingface_config.hpp"

// What the sources that read a config.json share. Where two keys say the same thing, or one takes the place
// of another, the result is what Hugging Face's `transformers` computes (5.24 was asked).

namespace vpd {

/// The value of a key that is there and not null.
const config::Value* find_not_null(const config::Value& file, std::string_view key);

/// `value` as a T; ConfigError where it is none, under `path`.
template <class T>
T read_as(config::Value value, const std::string& path) {
  config::accept(value, config::type_of<T>(), path, {});
  T object;
  config::assign(object, value, path);
  return object;
}

/// The value of a key as a T, or `otherwise` where there is no such key. Null is what T makes of it.
template <class T>
T value_or(const config::Value& file, const std::string& key, const T& otherwise) {
  const config::Value* found = file.find(key);
  return found ? read_as<T>(*found, key) : otherwise;
}

/// Throws ConfigError for keys with which any model of any family computes something else than here.
void refuse_what_changes_everything(const config::Value& file);

/// The entries of `file` that `type` has members for. Of the others, those that the family does not read
/// although they say something else than what is computed, and those that nobody knows, become a warning
/// each.
config::Value known_part(const config::Value& file, const config::Type& type, std::string_view family,
                         std::vector<std::string>& warnings);

/// Rotary embedding as rope_parameters, or rope_scaling beside rope_theta, say it.
RopeParameters read_rope(const config::Value& file, std::int64_t context, std::vector<std::string>& warnings);

/// Whether read_rope() reads a key.
bool is_rope_key(std::string_view key);

}  // namespace vpd
