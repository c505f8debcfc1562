#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// What a YAML or JSON file says, before anybody knows what it should say. Both readers give this, everything
// printed starts from it, and no other header knows the two libraries behind them.

namespace vpd::config {

struct Entry;

struct Value {
  using List = std::vector<Value>;
  using Map = std::vector<Entry>;  // in the file's order; keys are unique

  // Whole numbers are std::int64_t, or std::uint64_t above its range.
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, List, Map> data =
      nullptr;
  std::string origin;  // where it was read, "run.yaml:12" or "--set a.b=3"; empty when made by the program

  Value() = default;
  template <class T>
  explicit Value(T content) : data(std::move(content)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(data); }
  const std::string* text() const { return std::get_if<std::string>(&data); }
  const List* list() const { return std::get_if<List>(&data); }
  const Map* map() const { return std::get_if<Map>(&data); }
  Map* map() { return std::get_if<Map>(&data); }
  List* list() { return std::get_if<List>(&data); }

  // The entry of a map, or null where there is none.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
};

struct Entry {
  std::string key;
  Value value;
};

// "null", "true", "the number 3", "the text \"a\"", "a list of 2 entries", "a map of 1 entry".
std::string describe_found(const Value& value);

// Reads one document. Scalars are typed by the core schema of YAML 1.2; duplicate keys, several documents,
// tags and syntax errors are a ConfigError with line and column. `name` is what messages call the text.
Value parse_yaml(const std::string& text, const std::string& name);
Value parse_json(const std::string& text, const std::string& name);

// By the file's ending: .json is JSON, anything else YAML. Throws ConfigError where it cannot be read.
Value read_file(const std::filesystem::path& path);

std::string to_yaml(const Value& value);
std::string to_yaml_line(const Value& value);  // the same on one line, without its end
std::string to_json(const Value& value);

// One line for each place where two values differ: "training.steps: 100 became 200".
std::vector<std::string> differences(const Value& before, const Value& after);

}  // namespace vpd::config
