#include "foreign_map.hpp"

#include <cmath>
#include <variant>

#include "vpd/base/error.hpp"
#include "vpd/base/foreign_text.hpp"

namespace vpd {
namespace {

using config::Value;

std::string join_path(const std::string& path, std::string_view key) {
  return path.empty() || key.empty() ? path + std::string(key) : fmt::format("{}.{}", path, key);
}

// As config::describe_found(), with a text that is fit for a terminal, since somebody else wrote it.
std::string describe(const Value& value) {
  return value.text() ? fmt::format("the text {}", quote_foreign(*value.text()))
                      : config::describe_found(value);
}

[[noreturn]] void mismatch(const Value& value, const std::string& path, std::string_view expected) {
  throw DataError(
      fmt::format("{}: {}: expected {}, found {}", value.origin, path, expected, describe(value)));
}

double number_of(const Value& value, const std::string& path) {
  double number = 0.0;
  if (const auto* small = std::get_if<std::int64_t>(&value.data)) {
    number = static_cast<double>(*small);
  } else if (const auto* large = std::get_if<std::uint64_t>(&value.data)) {
    number = static_cast<double>(*large);
  } else if (const auto* real = std::get_if<double>(&value.data); real && std::isfinite(*real)) {
    number = *real;
  } else {
    mismatch(value, path, "a finite number");
  }
  return number;
}

std::string text_of(const Value& value, const std::string& path) {
  if (!value.text()) mismatch(value, path, "text");
  return *value.text();
}

const Value::List& list_of(const Value& value, const std::string& path) {
  if (!value.list()) mismatch(value, path, "a list");
  return *value.list();
}

std::vector<std::string> texts_of(const Value& value, const std::string& path) {
  std::vector<std::string> texts;
  for (const Value& element : list_of(value, path)) {
    texts.push_back(text_of(element, fmt::format("{}[{}]", path, texts.size())));
  }
  return texts;
}

}  // namespace

ForeignMap::ForeignMap(const Value& value, std::string path) : value_(&value), path_(std::move(path)) {
  if (!value.map()) {
    throw DataError(fmt::format("{}: {}expected a map of keys, found {}", value.origin,
                                path_.empty() ? "" : path_ + ": ", describe(value)));
  }
}

const Value* ForeignMap::peek(std::string_view key) const {
  const Value* found = value_->find(key);
  return found && !found->is_null() ? found : nullptr;
}

const Value* ForeignMap::find(std::string_view key) {
  asked_.emplace(key);
  return peek(key);
}

std::optional<double> ForeignMap::number(std::string_view key) {
  const Value* found = find(key);
  if (!found) return std::nullopt;
  return number_of(*found, join_path(path_, key));
}

std::optional<std::int64_t> ForeignMap::whole(std::string_view key) {
  const Value* found = find(key);
  if (!found) return std::nullopt;
  if (const auto* whole = std::get_if<std::int64_t>(&found->data)) return *whole;
  const auto* real = std::get_if<double>(&found->data);
  if (!real || std::trunc(*real) != *real || std::abs(*real) > 0x1p53) {
    mismatch(*found, join_path(path_, key), "a whole number");
  }
  return static_cast<std::int64_t>(*real);
}

std::optional<bool> ForeignMap::truth(std::string_view key) {
  const Value* found = find(key);
  if (!found) return std::nullopt;
  const bool* truth = std::get_if<bool>(&found->data);
  if (!truth) mismatch(*found, join_path(path_, key), "true or false");
  return *truth;
}

std::optional<std::string> ForeignMap::text(std::string_view key) {
  const Value* found = find(key);
  if (!found) return std::nullopt;
  return text_of(*found, join_path(path_, key));
}

std::optional<ForeignMap> ForeignMap::map(std::string_view key) {
  const Value* found = find(key);
  if (!found) return std::nullopt;
  return ForeignMap(*found, join_path(path_, key));
}

std::vector<ForeignMap> ForeignMap::maps(std::string_view key) {
  std::vector<ForeignMap> maps;
  if (const Value* found = find(key)) {
    const std::string path = join_path(path_, key);
    for (const Value& element : list_of(*found, path)) {
      maps.emplace_back(element, fmt::format("{}[{}]", path, maps.size()));
    }
  }
  return maps;
}

std::vector<double> ForeignMap::numbers(std::string_view key) {
  std::vector<double> numbers;
  if (const Value* found = find(key)) {
    const std::string path = join_path(path_, key);
    for (const Value& element : list_of(*found, path)) {
      numbers.push_back(number_of(element, fmt::format("{}[{}]", path, numbers.size())));
    }
  }
  return numbers;
}

std::vector<std::string> ForeignMap::texts(std::string_view key) {
  const Value* found = find(key);
  return found ? texts_of(*found, join_path(path_, key)) : std::vector<std::string>();
}

std::vector<std::pair<std::string, std::vector<std::string>>> ForeignMap::text_lists(std::string_view key) {
  std::vector<std::pair<std::string, std::vector<std::string>>> lists;
  if (const std::optional<ForeignMap> inside = map(key)) {
    for (const config::Entry& entry : *inside->value_->map()) {
      lists.emplace_back(entry.key, texts_of(entry.value, join_path(inside->path_, entry.key)));
    }
  }
  return lists;
}

bool ForeignMap::is_text(std::string_view key) const {
  const Value* found = peek(key);
  return found && found->text();
}

bool ForeignMap::is_map(std::string_view key) const {
  const Value* found = peek(key);
  return found && found->map();
}

std::string ForeignMap::place(std::string_view key) const {
  const Value* found = key.empty() ? value_ : value_->find(key);
  const std::string path = join_path(path_, key);
  const std::string& origin = found ? found->origin : value_->origin;
  return path.empty() ? origin : fmt::format("{}: {}", origin, path);
}

void ForeignMap::fail(std::string_view key, const std::string& expected) const {
  const Value* found = value_->find(key);
  throw DataError(fmt::format("{}: expected {}, found {}", place(key), expected,
                              found ? describe(*found) : "no such key"));
}

std::vector<std::pair<std::string, std::string>> ForeignMap::unasked() const {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const config::Entry& entry : *value_->map()) {
    if (entry.value.is_null() || asked_.contains(entry.key)) continue;
    entries.emplace_back(entry.key, config::to_yaml_line(entry.value));
  }
  return entries;
}

}  // namespace vpd
