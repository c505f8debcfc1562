#include "vpd/config/type.hpp"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/reflection.hpp"

namespace vpd::config {
namespace {

// 1e-12 and 400000 rather than 1.0e-12 and 400000.0: bounds are for people.
std::string bound(double value) { return fmt::format("{:g}", value); }

std::string range_of(const Field& limits) {
  if (limits.minimum && limits.maximum) {
    return fmt::format(" from {} to {}", bound(*limits.minimum), bound(*limits.maximum));
  }
  std::vector<std::string> parts;
  if (limits.minimum) parts.push_back("of at least " + bound(*limits.minimum));
  if (limits.above) parts.push_back("above " + bound(*limits.above));
  if (limits.maximum) parts.push_back("of at most " + bound(*limits.maximum));
  if (limits.below) parts.push_back("below " + bound(*limits.below));
  return parts.empty() ? "" : " " + join_words(parts, " and ");
}

std::vector<std::string> keys_of(const Type& fields) {
  std::vector<std::string> keys;
  for (const Member& member : fields.members) keys.emplace_back(member.field.key);
  return keys;
}

std::vector<std::string> kinds_of(const Type& variant) {
  std::vector<std::string> kinds;
  for (const Type& kind : variant.inside) kinds.push_back(kind.name);
  return kinds;
}

std::string describe_non_null(const Type& type) {
  using Kind = Type::Kind;
  switch (type.kind) {
    case Kind::boolean:
      return "true or false";
    case Kind::integer:
      return "a whole number" + range_of(type.limits);
    case Kind::unsigned_integer:
      return "a whole number from 0 to 2^64 - 1";
    case Kind::number:
      return "a number" + range_of(type.limits);
    case Kind::text:
      if (!type.limits.regex_meaning.empty()) return std::string(type.limits.regex_meaning);
      return type.limits.is_non_empty ? "text that is not empty" : "text";
    case Kind::path:
      return "a path";
    case Kind::choice:
      return "one of " + join_words(type.choices);
    case Kind::scalar:
      return "a number, text, or true or false";
    case Kind::optional:
      return describe_expected(type.inside[0]);
    case Kind::list:
      return type.limits.is_non_empty ? "a list of at least one entry" : "a list";
    case Kind::map:
      return "a map of names";
    case Kind::fields:
      return type.members.empty() ? "a map" : "a map with keys from " + join_words(keys_of(type));
    case Kind::variant:
      return "a map with a type from " + join_words(kinds_of(type));
    case Kind::number_or_fields:
      return fmt::format("a number{} or {}", range_of(type.limits), describe_expected(type.inside[0]));
  }
  return "";
}

// Where the complaint points, or the nearest value above it that the file has.
const Value& culprit(const Value& value, const std::string& where) {
  const Value* found = &value;
  std::size_t begin = 0;
  while (begin < where.size()) {
    const std::size_t end = std::min(where.find_first_of(".[]", begin), where.size());
    const std::string word = where.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    const Value* next = found->find(word);
    if (const Value::List* list = found->list()) next = &(*list)[std::stoul(word)];
    if (!next) break;
    found = next;
  }
  return *found;
}

/// Whether a member of a map that stands for a number is its value, which has that number's limits: those
/// that are required, or the first where none is.
bool is_value(const Type& number_or_fields, const Member& member) {
  const std::vector<Member>& members = number_or_fields.inside[0].members;
  const bool any_required =
      std::any_of(members.begin(), members.end(), [](const Member& one) { return one.field.is_required; });
  return any_required ? member.field.is_required : &member == &members.front();
}

}  // namespace

void apply_limits(Type& type, const Field& field) {
  using Kind = Type::Kind;
  switch (type.kind) {
    case Kind::optional:
      apply_limits(type.inside[0], field);
      break;
    case Kind::list: {
      type.limits.is_non_empty = field.is_non_empty;
      Field of_elements = field;
      of_elements.is_non_empty = false;
      apply_limits(type.inside[0], of_elements);
      break;
    }
    case Kind::number_or_fields:
      type.limits = field;
      for (Member& member : type.inside[0].members) {
        if (is_value(type, member)) apply_limits(member.type, field);
      }
      break;
    case Kind::integer:
    case Kind::unsigned_integer:
    case Kind::number:
    case Kind::text:
    case Kind::path:
      type.limits = field;
      break;
    case Kind::boolean:
    case Kind::choice:
    case Kind::scalar:
    case Kind::map:
    case Kind::fields:
      break;
    case Kind::variant:
      type.limits.default_kind = field.default_kind;
      break;
  }
}

std::string describe_expected(const Type& type) {
  return describe_non_null(type) + (type.or_null ? ", or null" : "");
}

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

std::string join(const std::string& path, std::size_t index) { return fmt::format("{}[{}]", path, index); }

void fail(const std::string& origin, const std::string& path, const std::string& text) {
  std::string message = origin.empty() ? "the configuration" : origin;
  if (!path.empty()) message += ": " + path;
  throw ConfigError(message + ": " + text);
}

void fail(const Value& value, const std::string& path, const Complaint& complaint) {
  const std::string place = path.empty() || complaint.where.empty() || complaint.where[0] == '['
                                ? path + complaint.where
                                : path + "." + complaint.where;
  fail(culprit(value, complaint.where).origin, place, complaint.text);
}

}  // namespace vpd::config
