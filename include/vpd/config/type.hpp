#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vpd/config/field.hpp"
#include "vpd/config/load.hpp"
#include "vpd/config/value.hpp"

// What a file should say: the tree that reflection.hpp makes from the structs, and everything that needs no
// more than that tree. None of this is a template, so it is compiled once.

namespace vpd::config {

struct Member;

struct Type {
  enum class Kind {
    boolean,
    integer,
    unsigned_integer,
    number,
    text,
    path,
    choice,            // one of `choices`
    scalar,            // true or false, a number or text
    optional,          // null or inside[0]
    list,              // of inside[0]
    map,               // text to inside[0]
    fields,            // a map with the keys `members`
    variant,           // one of `inside`, kinds of `fields`, selected by their `name` under the key `type`
    number_or_fields,  // a bare number, or inside[0]
  };

  Kind kind = Kind::boolean;
  std::string name;     // of a kind: the value of its `type`
  std::string summary;  // of `fields`
  std::vector<std::string> choices;
  std::vector<Type> inside;
  std::vector<Member> members;
  bool or_null = false;  // inside an `optional`
  Field limits = {};     // of the range, the text, the path or the kind; key and meaning are the member's
};

struct Member {
  Field field;
  Type type;
  Value default_value;  // as printed
};

// Puts a field's limits where they belong: on numbers inside lists and options, and on the values of
// schedules.
void apply_limits(Type& type, const Field& field);

// "a whole number of at least 1", "one of uniform, binomial", ...
std::string describe_expected(const Type& type);

struct Places {
  std::filesystem::path directory;  // relative paths start here; empty: they are left as they are
  Files files = Files::may_be_missing;
};

// Throws ConfigError unless `value` fits; makes whole numbers of integer-valued ones where the type asks for
// it, and absolute paths of relative ones. `path` is where the value stands, "" at the top.
void accept(Value& value, const Type& type, const std::string& path, const Places& places);

// Sets one value inside `root` from "a.b.0.c=value", before it is accepted. An entry of a list goes by its
// index or by its label: the text of its field that is one (Field::label), else its type. Maps that are
// absent start as their defaults.
void apply_override(Value& root, const Type& type, const std::string& override_text);

// JSON Schema, draft 2020-12.
Value schema(const Type& type, const std::string& title);

// A page of Markdown: one table for each map, in the order of the file.
std::string reference(const Type& type, const std::string& title);

// `path` extended by a key or an index: "objective[0].coefficient".
std::string join(const std::string& path, std::string_view key);
std::string join(const std::string& path, std::size_t index);

// Throws ConfigError: "<origin>: <path>: <text>".
[[noreturn]] void fail(const std::string& origin, const std::string& path, const std::string& text);

}  // namespace vpd::config
