#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "number_hint.hpp"
#include "vpd/base/error.hpp"
#include "vpd/base/path_meaning.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/type.hpp"

// Holds what a file says against what it should say.

namespace vpd::config {
namespace {

using TypeKind = Type::Kind;

// What would make the value fit, in brackets, where that is known.
std::string cure(const Value& value, const Type& type) {
  const bool is_scalar = !value.list() && !value.map();
  if (type.kind == TypeKind::text && !value.text() && is_scalar) return " (quotes make it text)";
  if (!value.text() || type.kind == TypeKind::text || type.kind == TypeKind::path ||
      type.kind == TypeKind::choice)
    return "";
  const std::string& text = *value.text();
  const bool whole = type.kind == TypeKind::integer || type.kind == TypeKind::unsigned_integer;
  if (whole || type.kind == TypeKind::number || type.kind == TypeKind::number_or_fields) {
    const auto number = plain_number(text);
    if (number && (!whole || number->find('.') == std::string::npos))
      return fmt::format(" (write {})", *number);
  }
  try {
    return parse_yaml(text, "").text() ? "" : " (without quotes it would not be text)";
  } catch (const ConfigError&) {
    return "";
  }
}

[[noreturn]] void mismatch(const Value& value, const Type& type, const std::string& path) {
  fail(value.origin, path,
       fmt::format("expected {}, found {}{}", describe_expected(type), describe_found(value),
                   cure(value, type)));
}

bool in_range(double number, const Field& limits) {
  return (!limits.minimum || number >= *limits.minimum) && (!limits.above || number > *limits.above) &&
         (!limits.maximum || number <= *limits.maximum) && (!limits.below || number < *limits.below);
}

// A float with an integer's value, 1e5 or 400000.0, becomes that integer.
void make_whole(Value& value) {
  const double* number = std::get_if<double>(&value.data);
  if (!number || std::trunc(*number) != *number) return;
  if (*number >= -0x1p63 && *number < 0x1p63) {
    value.data = static_cast<std::int64_t>(*number);
  } else if (*number > 0 && *number < 0x1p64) {
    value.data = static_cast<std::uint64_t>(*number);
  }
}

void accept_integer(Value& value, const Type& type, const std::string& path) {
  make_whole(value);
  const auto* small = std::get_if<std::int64_t>(&value.data);
  const bool large = std::holds_alternative<std::uint64_t>(value.data);
  if (type.kind == TypeKind::unsigned_integer) {
    if (!(small ? *small >= 0 : large)) mismatch(value, type, path);
  } else if (!small || !in_range(static_cast<double>(*small), type.limits)) {
    mismatch(value, type, path);
  }
}

void accept_number(Value& value, const Type& type, const std::string& path) {
  std::optional<double> number;
  if (const auto* small = std::get_if<std::int64_t>(&value.data)) number = static_cast<double>(*small);
  if (const auto* large = std::get_if<std::uint64_t>(&value.data)) number = static_cast<double>(*large);
  if (const auto* real = std::get_if<double>(&value.data)) number = *real;
  if (number && !std::isfinite(*number)) {
    fail(value.origin, path, fmt::format("expected a finite number, found {}", to_yaml_line(value)));
  }
  if (!number || !in_range(*number, type.limits)) mismatch(value, type, path);
  value.data = *number;
}

void accept_scalar(Value& value, const Type& type, const std::string& path) {
  if (const auto* large = std::get_if<std::uint64_t>(&value.data)) value.data = static_cast<double>(*large);
  const auto* real = std::get_if<double>(&value.data);
  if (real && !std::isfinite(*real)) {
    fail(value.origin, path, fmt::format("expected a finite number, found {}", to_yaml_line(value)));
  }
  const bool fits = real || value.text() || std::holds_alternative<bool>(value.data) ||
                    std::holds_alternative<std::int64_t>(value.data);
  if (!fits) mismatch(value, type, path);
}

void accept_text(const Value& value, const Type& type, const std::string& path) {
  const std::string* text = value.text();
  const Field& limits = type.limits;
  if (!text || (limits.is_non_empty && text->empty())) mismatch(value, type, path);
  if (!limits.regex.empty() && !std::regex_match(*text, std::regex(std::string(limits.regex)))) {
    mismatch(value, type, path);
  }
}

std::string in_place_of(const std::string& missing) {
  return obstacle(missing).value_or("nothing at " + missing);
}

void accept_path(Value& value, const Type& type, const std::string& path, const Places& places) {
  const std::string* text = value.text();
  if (!text || text->empty()) mismatch(value, type, path);
  if (places.directory.empty()) return;
  std::string resolved = (places.directory / *text).lexically_normal().string();
  if (resolved.size() > 1 && resolved.back() == '/') resolved.pop_back();
  value.data = resolved;
  if (places.files == Files::may_be_missing) return;

  std::error_code error;
  if (type.limits.path_kind == PathKind::directory) {
    if (!std::filesystem::exists(resolved, error)) {
      fail(value.origin, path, fmt::format("expected a directory, found {}", in_place_of(resolved)));
    }
    if (!std::filesystem::is_directory(resolved, error)) {
      fail(value.origin, path, fmt::format("expected a directory, found a file at {}", resolved));
    }
    return;
  }
  const PathMeaning meaning = meaning_of(resolved);
  if (!meaning.paths.empty()) return;
  fail(value.origin, path,
       meaning.is_pattern ? fmt::format("expected a pattern that matches files, found {}",
                                        meaning.obstacle.value_or("none for " + resolved))
                          : fmt::format("expected a file, found {}", in_place_of(resolved)));
}

std::string one_of(const std::vector<std::string>& words) {
  return words.size() == 1 ? words[0] : "one of " + join_words(words);
}

// `fields` are those of a kind of a variant when `kinded`: the key `type` has been dealt with.
void accept_fields(Value& value, const Type& type, bool kinded, const std::string& path,
                   const Places& places) {
  std::vector<std::string> known;
  if (kinded) known.emplace_back("type");
  for (const Member& member : type.members) known.emplace_back(member.field.key);
  for (const Entry& entry : *value.map()) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    // What {steps: 1,000} leaves behind.
    const bool is_end_of_number =
        entry.value.is_null() && entry.key.find_first_not_of("0123456789") == std::string::npos;
    fail(entry.value.origin, join(path, entry.key),
         known.empty()
             ? fmt::format("expected no keys here, found \"{}\"", entry.key)
             : fmt::format("expected a known key ({}), found \"{}\"{}", join_words(known), entry.key,
                           is_end_of_number ? " (between braces a comma begins a new key: write the "
                                              "number before it without one)"
                                            : nearest_hint(entry.key, known)));
  }
  for (const Member& member : type.members) {
    const std::string place = join(path, member.field.key);
    if (Value* found = value.find(member.field.key)) {
      accept(*found, member.type, place, places);
    } else if (member.field.is_required) {
      fail(value.origin, place,
           fmt::format("expected {}, found no such key", describe_expected(member.type)));
    }
  }
}

/// A map that stands for a number has its first field, or a list in place of it.
void need_a_value(const Value& value, const Type& fields, const std::string& path) {
  const Member& first = fields.members.front();
  const bool has_one = std::any_of(fields.members.begin(), fields.members.end(), [&](const Member& member) {
    return (&member == &first || member.type.kind == TypeKind::list) && value.find(member.field.key);
  });
  if (has_one) return;
  fail(value.origin, join(path, first.field.key),
       fmt::format("expected {}, found no such key", describe_expected(first.type)));
}

void accept_variant(Value& value, const Type& type, const std::string& path, const Places& places) {
  if (!value.map()) mismatch(value, type, path);
  std::vector<std::string> known;
  for (const Type& kind : type.inside) known.push_back(kind.name);
  const std::string place = join(path, "type");
  if (!value.find("type") && !type.limits.default_kind.empty())
    value.map()->insert(value.map()->begin(), {"type", Value(std::string(type.limits.default_kind))});
  const Value* selected = value.find("type");
  if (!selected) fail(value.origin, place, fmt::format("expected {}, found no such key", one_of(known)));
  if (!selected->text()) {
    fail(selected->origin, place,
         fmt::format("expected {}, found {}", one_of(known), describe_found(*selected)));
  }
  for (const Type& kind : type.inside) {
    if (kind.name == *selected->text()) return accept_fields(value, kind, true, path, places);
  }
  fail(selected->origin, place,
       fmt::format("expected {}, found \"{}\"{}", one_of(known), *selected->text(),
                   nearest_hint(*selected->text(), known)));
}

}  // namespace

void accept(Value& value, const Type& type, const std::string& path, const Places& places) {
  switch (type.kind) {
    case TypeKind::boolean:
      if (!std::holds_alternative<bool>(value.data)) mismatch(value, type, path);
      break;
    case TypeKind::integer:
    case TypeKind::unsigned_integer:
      accept_integer(value, type, path);
      break;
    case TypeKind::number:
      accept_number(value, type, path);
      break;
    case TypeKind::text:
      accept_text(value, type, path);
      break;
    case TypeKind::path:
      accept_path(value, type, path, places);
      break;
    case TypeKind::choice: {
      if (!value.text()) mismatch(value, type, path);
      const std::string& text = *value.text();
      if (std::find(type.choices.begin(), type.choices.end(), text) == type.choices.end()) {
        fail(value.origin, path,
             fmt::format("expected {}, found \"{}\"{}", one_of(type.choices), text,
                         nearest_hint(text, type.choices)));
      }
      break;
    }
    case TypeKind::scalar:
      accept_scalar(value, type, path);
      break;
    case TypeKind::optional:
      if (!value.is_null()) accept(value, type.inside[0], path, places);
      break;
    case TypeKind::list: {
      if (!value.list() || (type.limits.is_non_empty && value.list()->empty())) mismatch(value, type, path);
      std::size_t index = 0;
      for (Value& element : *value.list()) accept(element, type.inside[0], join(path, index++), places);
      break;
    }
    case TypeKind::map:
      if (!value.map()) mismatch(value, type, path);
      for (Entry& entry : *value.map()) accept(entry.value, type.inside[0], join(path, entry.key), places);
      break;
    case TypeKind::fields:
      if (!value.map()) mismatch(value, type, path);
      accept_fields(value, type, false, path, places);
      break;
    case TypeKind::variant:
      accept_variant(value, type, path, places);
      break;
    case TypeKind::number_or_fields:
      if (value.map()) {
        accept_fields(value, type.inside[0], false, path, places);
        need_a_value(value, type.inside[0], path);
      } else {
        accept_number(value, type, path);
      }
      break;
  }
}

}  // namespace vpd::config
