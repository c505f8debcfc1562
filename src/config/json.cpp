#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/base/json_text.hpp"
#include "vpd/config/type.hpp"
#include "vpd/config/value.hpp"

// JSON in and out.

namespace vpd::config {
namespace {

using Json = nlohmann::ordered_json;

// Builds a Value from the parser's events. Events rather than nlohmann's own tree, which drops duplicate keys
// silently.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const std::string& text, const std::string& name) : text_(text), name_(name) {}

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(Value(value)); }
  bool number_integer(std::int64_t value) override { return add(Value(value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (std::in_range<std::int64_t>(value)) return add(Value(static_cast<std::int64_t>(value)));
    return add(Value(value));
  }
  bool number_float(double value, const std::string&) override { return add(Value(value)); }
  bool string(std::string& value) override { return add(Value(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Value(Value::Map())); }
  bool start_array(std::size_t) override { return open(Value(Value::List())); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& key) override {
    Frame& frame = frames_.back();
    if (frame.value.find(key)) {
      fail(name_, join(frame.path, key), "expected each key once, found it again in the same map");
    }
    frame.key = key;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::size_t end = std::min(position == 0 ? 0 : position - 1, text_.size());
    const auto begin = text_.begin();
    const auto stop = begin + static_cast<std::ptrdiff_t>(end);
    const auto line = std::count(begin, stop, '\n') + 1;
    const std::size_t line_start = end == 0 ? std::string::npos : text_.rfind('\n', end - 1);
    const std::size_t column = end - (line_start == std::string::npos ? 0 : line_start + 1) + 1;
    std::string reason = error.what();
    if (const std::size_t prefix = reason.find("; "); prefix != std::string::npos)
      reason.erase(0, prefix + 2);
    if (const std::size_t prefix = reason.find(": ");
        prefix != std::string::npos && reason.starts_with("[json")) {
      reason.erase(0, reason.find("] ") + 2);
    }
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    throw ConfigError(
        fmt::format("{}:{}:{}: expected JSON, found a syntax error ({})", name_, line, column, reason));
  }

  Value take() { return std::move(result_); }

 private:
  struct Frame {
    Value value;
    std::string path;
    std::string key;
  };

  std::string next_path() const {
    if (frames_.empty()) return "";
    const Frame& frame = frames_.back();
    return frame.value.map() ? join(frame.path, frame.key) : join(frame.path, frame.value.list()->size());
  }

  bool add(Value value) {
    value.origin = name_;
    if (frames_.empty()) {
      result_ = std::move(value);
      return true;
    }
    Frame& frame = frames_.back();
    if (frame.value.map()) {
      frame.value.map()->push_back({frame.key, std::move(value)});
    } else {
      frame.value.list()->push_back(std::move(value));
    }
    return true;
  }

  bool open(Value value) {
    if (frames_.size() > 64)
      fail(name_, next_path(), "expected a configuration, found one nested without end");
    frames_.push_back({std::move(value), next_path(), ""});
    return true;
  }

  bool close() {
    Value value = std::move(frames_.back().value);
    frames_.pop_back();
    return add(std::move(value));
  }

  const std::string& text_;
  const std::string& name_;
  std::vector<Frame> frames_;
  Value result_;
};

Json json_of(const Value& value) {
  if (const Value::Map* map = value.map()) {
    Json object = Json::object();
    for (const Entry& entry : *map) object[entry.key] = json_of(entry.value);
    return object;
  }
  if (const Value::List* list = value.list()) {
    Json array = Json::array();
    for (const Value& element : *list) array.push_back(json_of(element));
    return array;
  }
  return std::visit(
      []<class T>(const T& content) -> Json {
        if constexpr (std::same_as<T, Value::Map> || std::same_as<T, Value::List>) {
          return nullptr;
        } else {
          return content;
        }
      },
      value.data);
}

}  // namespace

Value parse_json(const std::string& text, const std::string& name) {
  Builder builder(text, name);
  Json::sax_parse(text, &builder);
  return builder.take();
}

std::string to_json(const Value& value) { return json_text(json_of(value), 2) + "\n"; }

}  // namespace vpd::config
