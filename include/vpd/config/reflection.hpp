#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "vpd/config/field.hpp"
#include "vpd/config/scalar.hpp"
#include "vpd/config/type.hpp"
#include "vpd/config/value.hpp"

// From `describe` functions to everything else, in three templates: type_of gives the tree that files are
// held against, value_of what is printed, and assign fills a struct from a value that has been accepted.
// Include this only where a whole configuration is read or printed.

namespace vpd::config {

struct NullVisitor {
  template <class T>
  void operator()(const Field&, T&) {}
};

template <class T>
concept Described = requires(T& object, NullVisitor& visitor) {
  T::describe(object, visitor);
};

template <class T>
concept Kind = Described<T> && requires {
  std::string_view(T::kind);
};

template <class T>
concept NumberOrFields = Described<T> && requires(const T& object) {
  { T::from_number(1.0) } -> std::same_as<T>;
  { object.as_number() } -> std::same_as<std::optional<double>>;
};

template <class T>
concept Validated = requires(const T& object) {
  { object.validate() } -> std::same_as<std::optional<Complaint>>;
};

// Throws ConfigError for what `validate` found in the struct that `value` holds.
[[noreturn]] void fail(const Value& value, const std::string& path, const Complaint& complaint);

namespace detail {

template <class T>
struct Shape {
  static constexpr bool is_optional = false, is_list = false, is_map = false, is_variant = false;
};
template <class T>
struct Shape<std::optional<T>> : Shape<void> {
  static constexpr bool is_optional = true;
};
template <class T>
struct Shape<std::vector<T>> : Shape<void> {
  static constexpr bool is_list = true;
};
template <class T>
struct Shape<std::map<std::string, T>> : Shape<void> {
  static constexpr bool is_map = true;
};
template <class... T>
struct Shape<std::variant<T...>> : Shape<void> {
  static constexpr bool is_variant = true;
};

template <class T>
Value::Map entries_of(const T& object);

}  // namespace detail

// What is printed for `object`, every default included.
template <class T>
Value value_of(const T& object) {
  if constexpr (detail::Shape<T>::is_optional) {
    return object ? value_of(*object) : Value();
  } else if constexpr (detail::Shape<T>::is_list) {
    Value::List list;
    for (const auto& element : object) list.push_back(value_of(element));
    return Value(std::move(list));
  } else if constexpr (detail::Shape<T>::is_map) {
    Value::Map map;
    for (const auto& [key, element] : object) map.push_back({key, value_of(element)});
    return Value(std::move(map));
  } else if constexpr (detail::Shape<T>::is_variant) {
    return std::visit(
        []<Kind K>(const K& kind) {
          Value::Map map = detail::entries_of(kind);
          map.insert(map.begin(), {"type", Value(std::string(K::kind))});
          return Value(std::move(map));
        },
        object);
  } else if constexpr (NumberOrFields<T>) {
    if (const std::optional<double> number = object.as_number()) return Value(*number);
    return Value(detail::entries_of(object));
  } else if constexpr (Described<T>) {
    return Value(detail::entries_of(object));
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [value, name] : config_names(T{})) {
      if (value == object) return Value(std::string(name));
    }
    return Value();
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    return Value(object.string());
  } else if constexpr (std::same_as<T, Scalar>) {
    return std::visit([](const auto& content) { return Value(content); }, object.data);
  } else if constexpr (std::same_as<T, std::uint64_t>) {
    if (std::in_range<std::int64_t>(object)) return Value(static_cast<std::int64_t>(object));
    return Value(object);
  } else {
    static_assert(
        std::same_as<T, bool> || std::same_as<T, std::int64_t> || std::same_as<T, double> ||
            std::same_as<T, std::string>,
        "a configuration holds bool, std::int64_t, std::uint64_t, double, std::string, scalars, paths, "
        "enumerations, described structs, and optional, vector, map and variant of these");
    return Value(object);
  }
}

template <class T>
Type type_of();

namespace detail {

struct EntryVisitor {
  Value::Map& map;
  template <class T>
  void operator()(const Field& field, const T& member) {
    map.push_back({std::string(field.key), value_of(member)});
  }
};

template <class T>
Value::Map entries_of(const T& object) {
  Value::Map map;
  EntryVisitor visitor{map};
  T::describe(object, visitor);
  return map;
}

struct MemberVisitor {
  std::vector<Member>& members;
  template <class T>
  void operator()(const Field& field, const T& member) {
    Type type = type_of<T>();
    apply_limits(type, field);
    members.push_back({field, std::move(type), field.is_required ? Value() : value_of(member)});
  }
};

template <Described T>
Type fields_type() {
  Type type;
  type.kind = Type::Kind::fields;
  type.summary = T::summary;
  const T defaults{};
  MemberVisitor visitor{type.members};
  T::describe(defaults, visitor);
  return type;
}

template <class Inside>
Type wrapping(Type::Kind kind) {
  Type type;
  type.kind = kind;
  type.inside.push_back(type_of<Inside>());
  type.inside.back().or_null = kind == Type::Kind::optional;
  return type;
}

template <class Variant>
struct VariantType;
template <Kind... K>
struct VariantType<std::variant<K...>> {
  static Type make() {
    Type type;
    type.kind = Type::Kind::variant;
    (add<K>(type), ...);
    return type;
  }
  template <class One>
  static void add(Type& type) {
    type.inside.push_back(fields_type<One>());
    type.inside.back().name = One::kind;
  }
};

}  // namespace detail

template <class T>
Type type_of() {
  Type type;
  if constexpr (detail::Shape<T>::is_optional) {
    type = detail::wrapping<typename T::value_type>(Type::Kind::optional);
  } else if constexpr (detail::Shape<T>::is_list) {
    type = detail::wrapping<typename T::value_type>(Type::Kind::list);
  } else if constexpr (detail::Shape<T>::is_map) {
    type = detail::wrapping<typename T::mapped_type>(Type::Kind::map);
  } else if constexpr (detail::Shape<T>::is_variant) {
    type = detail::VariantType<T>::make();
  } else if constexpr (NumberOrFields<T>) {
    type.kind = Type::Kind::number_or_fields;
    type.name = T::name;
    type.inside.push_back(detail::fields_type<T>());
  } else if constexpr (Described<T>) {
    type = detail::fields_type<T>();
  } else if constexpr (std::is_enum_v<T>) {
    type.kind = Type::Kind::choice;
    for (const auto& [value, name] : config_names(T{})) type.choices.emplace_back(name);
  } else {
    type.kind = std::same_as<T, bool>            ? Type::Kind::boolean
                : std::same_as<T, std::int64_t>  ? Type::Kind::integer
                : std::same_as<T, std::uint64_t> ? Type::Kind::unsigned_integer
                : std::same_as<T, double>        ? Type::Kind::number
                : std::same_as<T, std::string>   ? Type::Kind::text
                : std::same_as<T, Scalar>        ? Type::Kind::scalar
                                                 : Type::Kind::path;
  }
  return type;
}

template <class T>
void assign(T& object, const Value& value, const std::string& path);

namespace detail {

struct AssignVisitor {
  const Value& value;
  const std::string& path;
  template <class T>
  void operator()(const Field& field, T& member) {
    if (const Value* found = value.find(field.key)) assign(member, *found, join(path, field.key));
  }
};

template <Described T>
void assign_fields(T& object, const Value& value, const std::string& path) {
  object = T{};  // what the map leaves out has this struct's defaults, not those of a larger one around it
  AssignVisitor visitor{value, path};
  T::describe(object, visitor);
  if constexpr (Validated<T>) {
    if (const std::optional<Complaint> complaint = object.validate()) fail(value, path, *complaint);
  }
}

template <std::size_t I = 0, class Variant>
void assign_kind(Variant& object, const std::string& kind, const Value& value, const std::string& path) {
  if constexpr (I < std::variant_size_v<Variant>) {
    if (std::variant_alternative_t<I, Variant>::kind == kind) {
      assign_fields(object.template emplace<I>(), value, path);
    } else {
      assign_kind<I + 1>(object, kind, value, path);
    }
  }
}

}  // namespace detail

// `value` has passed `accept` with type_of<T>().
template <class T>
void assign(T& object, const Value& value, const std::string& path) {
  if constexpr (detail::Shape<T>::is_optional) {
    object.reset();
    if (!value.is_null()) assign(object.emplace(), value, path);
  } else if constexpr (detail::Shape<T>::is_list) {
    object.clear();
    for (const Value& element : *value.list()) {
      const std::string place = join(path, object.size());
      assign(object.emplace_back(), element, place);
    }
  } else if constexpr (detail::Shape<T>::is_map) {
    object.clear();
    for (const Entry& entry : *value.map()) assign(object[entry.key], entry.value, join(path, entry.key));
  } else if constexpr (detail::Shape<T>::is_variant) {
    detail::assign_kind(object, *value.find("type")->text(), value, path);
  } else if constexpr (NumberOrFields<T>) {
    if (const double* number = std::get_if<double>(&value.data)) {
      object = T::from_number(*number);
    } else {
      detail::assign_fields(object, value, path);
    }
  } else if constexpr (Described<T>) {
    detail::assign_fields(object, value, path);
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [candidate, name] : config_names(T{})) {
      if (name == *value.text()) object = candidate;
    }
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    object = *value.text();
  } else if constexpr (std::same_as<T, std::uint64_t>) {
    const std::int64_t* small = std::get_if<std::int64_t>(&value.data);
    object = small ? static_cast<std::uint64_t>(*small) : std::get<std::uint64_t>(value.data);
  } else if constexpr (std::same_as<T, Scalar>) {
    std::visit(
        [&]<class Content>(const Content& content) {
          if constexpr (std::same_as<Content, bool> || std::same_as<Content, std::int64_t> ||
                        std::same_as<Content, double> || std::same_as<Content, std::string>) {
            object = Scalar(content);
          }
        },
        value.data);
  } else {
    object = std::get<T>(value.data);
  }
}

// Accepts `value` and returns it as a T.
template <class T>
T from_value(Value value, const Type& type, const Places& places) {
  accept(value, type, "", places);
  T object;
  assign(object, value, "");
  return object;
}

}  // namespace vpd::config
