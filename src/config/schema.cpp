#include <cmath>
#include <string>
#include <utility>

#include "vpd/config/type.hpp"

// JSON Schema, draft 2020-12, of what `accept` accepts. Rules between fields are beyond it.

namespace vpd::config {
namespace {

using TypeKind = Type::Kind;

Value text(std::string_view content) { return Value(std::string(content)); }

// Bounds of whole numbers are printed as such.
Value number(double value) {
  return std::trunc(value) == value && std::abs(value) < 0x1p53 ? Value(static_cast<std::int64_t>(value))
                                                                : Value(value);
}

void add_range(Value::Map& map, const Field& limits) {
  if (limits.minimum) map.push_back({"minimum", number(*limits.minimum)});
  if (limits.above) map.push_back({"exclusiveMinimum", number(*limits.above)});
  if (limits.maximum) map.push_back({"maximum", number(*limits.maximum)});
  if (limits.below) map.push_back({"exclusiveMaximum", number(*limits.below)});
}

Value::Map schema_of(const Type& type);

// `optional_type`: a map without the key `type` is of this kind, too.
Value::Map fields_schema(const Type& type, bool optional_type = false) {
  Value::Map map{{"type", text("object")}, {"description", text(type.summary)}};
  Value::Map properties;
  Value::List required;
  if (!type.name.empty()) {
    properties.push_back({"type", Value(Value::Map{{"const", text(type.name)}})});
    if (!optional_type) required.push_back(text("type"));
  }
  for (const Member& member : type.members) {
    Value::Map property = schema_of(member.type);
    std::erase_if(property, [](const Entry& entry) { return entry.key == "description"; });
    property.insert(property.begin(), {"description", text(member.field.meaning)});
    if (member.field.is_required) {
      required.push_back(text(member.field.key));
    } else {
      property.push_back({"default", member.default_value});
    }
    properties.push_back({std::string(member.field.key), Value(std::move(property))});
  }
  map.push_back({"properties", Value(std::move(properties))});
  if (!required.empty()) map.push_back({"required", Value(std::move(required))});
  map.push_back({"additionalProperties", Value(false)});
  return map;
}

Value::Map schema_of(const Type& type) {
  switch (type.kind) {
    case TypeKind::boolean:
      return {{"type", text("boolean")}};
    case TypeKind::integer: {
      Value::Map map{{"type", text("integer")}};
      add_range(map, type.limits);
      return map;
    }
    case TypeKind::unsigned_integer:
      return {{"type", text("integer")}, {"minimum", Value(std::int64_t{0})}};
    case TypeKind::number: {
      Value::Map map{{"type", text("number")}};
      add_range(map, type.limits);
      return map;
    }
    case TypeKind::text: {
      Value::Map map{{"type", text("string")}};
      if (!type.limits.regex.empty())
        map.push_back({"pattern", text("^(" + std::string(type.limits.regex) + ")$")});
      if (type.limits.is_non_empty) map.push_back({"minLength", Value(std::int64_t{1})});
      return map;
    }
    case TypeKind::path:
      return {{"type", text("string")}, {"minLength", Value(std::int64_t{1})}};
    case TypeKind::choice: {
      Value::List choices;
      for (const std::string& choice : type.choices) choices.push_back(Value(choice));
      return {{"enum", Value(std::move(choices))}};
    }
    case TypeKind::scalar: {
      Value::List options;
      for (const char* name : {"boolean", "number", "string"})
        options.push_back(Value(Value::Map{{"type", text(name)}}));
      return {{"anyOf", Value(std::move(options))}};
    }
    case TypeKind::optional: {
      Value::List options{Value(schema_of(type.inside[0])), Value(Value::Map{{"type", text("null")}})};
      return {{"anyOf", Value(std::move(options))}};
    }
    case TypeKind::list: {
      Value::Map map{{"type", text("array")}, {"items", Value(schema_of(type.inside[0]))}};
      if (type.limits.is_non_empty) map.push_back({"minItems", Value(std::int64_t{1})});
      return map;
    }
    case TypeKind::map:
      return {{"type", text("object")}, {"additionalProperties", Value(schema_of(type.inside[0]))}};
    case TypeKind::fields:
      return fields_schema(type);
    case TypeKind::variant: {
      Value::List kinds;
      for (const Type& kind : type.inside)
        kinds.push_back(Value(fields_schema(kind, kind.name == type.limits.default_kind)));
      return {{"oneOf", Value(std::move(kinds))}};
    }
    case TypeKind::number_or_fields: {
      Value::Map bare{{"type", text("number")}};
      add_range(bare, type.limits);
      Value::Map fields = fields_schema(type.inside[0]);
      Value::List one_of;  // the first field, or a list in place of it
      for (const Member& member : type.inside[0].members)
        if (one_of.empty() || member.type.kind == TypeKind::list)
          one_of.push_back(Value(Value::Map{{"required", Value(Value::List{text(member.field.key)})}}));
      if (one_of.size() > 1) fields.push_back({"anyOf", Value(std::move(one_of))});
      Value::List options{Value(std::move(bare)), Value(std::move(fields))};
      return {{"anyOf", Value(std::move(options))}};
    }
  }
  return {};
}

}  // namespace

Value schema(const Type& type, const std::string& title) {
  Value::Map map = schema_of(type);
  map.insert(map.begin(),
             {{"$schema", text("https://json-schema.org/draft/2020-12/schema")}, {"title", Value(title)}});
  return Value(std::move(map));
}

}  // namespace vpd::config
