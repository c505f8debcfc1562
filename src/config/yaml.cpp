#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <spdlog/fmt/fmt.h>
#include <yaml-cpp/yaml.h>

#include "vpd/base/error.hpp"
#include "vpd/base/text.hpp"
#include "vpd/config/type.hpp"
#include "vpd/config/value.hpp"

// YAML in and out. yaml-cpp finds the structure; what a plain scalar means is decided here, by the core
// schema of YAML 1.2 (section 10.3.2 of its specification), which every reader of a run directory shares.

namespace vpd::config {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// [-+]? ( "." [0-9]+ | [0-9]+ ( "." [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool looks_like_float(std::string_view s) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t begin = i;
    while (i < s.size() && is_digit(s[i])) ++i;
    return i - begin;
  };
  if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
  std::size_t count = digits();
  if (i < s.size() && s[i] == '.') {
    ++i;
    count += digits();
  }
  if (count == 0) return false;
  if (i < s.size() && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    if (i < s.size() && (s[i] == '-' || s[i] == '+')) ++i;
    if (digits() == 0) return false;
  }
  return i == s.size();
}

std::optional<Value> integer(std::string_view s) {
  const bool hexadecimal = s.starts_with("0x"), octal = s.starts_with("0o");
  const bool negative = s.starts_with("-");
  std::string_view digits = s;
  if (hexadecimal || octal) {
    digits.remove_prefix(2);
  } else if (negative || s.starts_with("+")) {
    digits.remove_prefix(1);
  }
  std::uint64_t magnitude = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, magnitude,
                                             hexadecimal ? 16
                                             : octal     ? 8
                                                         : 10);
  if (digits.empty() || stop != end || error != std::errc()) return std::nullopt;  // too large: a float
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (magnitude <= most) {
    const auto value = static_cast<std::int64_t>(magnitude);
    return Value(negative ? -value : value);
  }
  if (!negative) return Value(magnitude);
  if (magnitude == most + 1) return Value(std::numeric_limits<std::int64_t>::min());
  return std::nullopt;
}

// from_chars and not strtod: no locale may change what a file says.
double parse_double(std::string_view s) {
  if (s.starts_with("+")) s.remove_prefix(1);
  double value = 0;
  const auto [stop, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (error == std::errc::result_out_of_range) {
    const bool tiny = s.find("e-") != std::string_view::npos || s.find("E-") != std::string_view::npos;
    value = tiny ? 0.0 : std::numeric_limits<double>::infinity();
    if (s.starts_with("-")) value = -value;
  }
  return value;
}

Value plain_scalar(const std::string& s) {
  if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL") return Value();
  if (s == "true" || s == "True" || s == "TRUE") return Value(true);
  if (s == "false" || s == "False" || s == "FALSE") return Value(false);
  if (std::optional<Value> whole = integer(s)) return *whole;
  if (looks_like_float(s)) return Value(parse_double(s));
  const std::string_view unsigned_part = s[0] == '-' || s[0] == '+' ? std::string_view(s).substr(1) : s;
  if (unsigned_part == ".inf" || unsigned_part == ".Inf" || unsigned_part == ".INF") {
    return Value(s[0] == '-' ? -std::numeric_limits<double>::infinity()
                             : std::numeric_limits<double>::infinity());
  }
  if (s == ".nan" || s == ".NaN" || s == ".NAN") return Value(std::numeric_limits<double>::quiet_NaN());
  return Value(s);
}

class Converter {
 public:
  explicit Converter(const std::string& name) : name_(name) {}

  Value convert(const YAML::Node& node, const std::string& path, int depth) {
    const std::string origin = at(node.Mark());
    // Aliases make cycles and exponential growth possible; no configuration comes near these bounds.
    if (depth > 64 || ++count_ > 1'000'000)
      fail(origin, path, "expected a configuration, found one nested without end");
    const std::string& tag = node.Tag();
    if (!tag.empty() && tag != "?" && tag != "!") {
      fail(origin, path, fmt::format("expected a value without a tag, found the tag \"{}\"", tag));
    }
    Value value;
    if (node.IsScalar()) {
      value = tag == "!" ? Value(node.Scalar()) : plain_scalar(node.Scalar());
    } else if (node.IsSequence()) {
      Value::List list;
      for (const YAML::Node& element : node)
        list.push_back(convert(element, join(path, list.size()), depth + 1));
      value = Value(std::move(list));
    } else if (node.IsMap()) {
      value = Value(convert_map(node, path, depth));
    }
    value.origin = origin;
    return value;
  }

 private:
  std::string at(const YAML::Mark& mark) const {
    return mark.line < 0 ? name_ : fmt::format("{}:{}", name_, mark.line + 1);
  }

  Value::Map convert_map(const YAML::Node& node, const std::string& path, int depth) {
    Value map{Value::Map()};
    for (const auto& pair : node) {
      const std::string origin = at(pair.first.Mark());
      if (!pair.first.IsScalar())
        fail(origin, path, "expected a key of plain text, found a list, a map or nothing");
      const std::string& key = pair.first.Scalar();
      if (const Value* earlier = map.find(key)) {
        fail(origin, join(path, key),
             fmt::format("expected each key once, found it again after {}", earlier->origin));
      }
      Value value = convert(pair.second, join(path, key), depth + 1);
      value.origin = origin;  // the key's line, which for a nested map is the one before its first value
      map.map()->push_back({key, std::move(value)});
    }
    return std::move(*map.map());
  }

  const std::string& name_;
  std::size_t count_ = 0;
};

// Plain only where no reader of YAML 1.1 or 1.2 could take it for anything but text.
bool may_be_plain(const std::string& s) {
  static constexpr std::string_view words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  if (std::find(std::begin(words), std::end(words), lower_case(s)) != std::end(words)) return false;
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
  };
  if (s.empty() || !letter(s[0])) return false;
  return std::all_of(s.begin(), s.end(),
                     [&](char c) { return letter(c) || is_digit(c) || c == '.' || c == '-'; });
}

std::string quoted(const std::string& s) {
  std::string result = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string text_of(const std::string& s) { return may_be_plain(s) ? s : quoted(s); }

// The fewest digits that read back as the same number, with a point so that YAML 1.1 takes it for a number
// too.
std::string text_of(double number) {
  if (std::isnan(number)) return ".nan";
  if (std::isinf(number)) return number > 0 ? ".inf" : "-.inf";
  std::string text = fmt::format("{}", number);
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text[exponent + 2] == '0') text.erase(exponent + 2, 1);  // e-08
  const std::size_t mantissa = std::min(exponent, text.size());
  if (text.find('.') >= mantissa) text.insert(mantissa, ".0");
  return text;
}

std::string scalar(const Value& value) {
  if (const bool* boolean = std::get_if<bool>(&value.data)) return *boolean ? "true" : "false";
  if (const auto* small = std::get_if<std::int64_t>(&value.data)) return fmt::format("{}", *small);
  if (const auto* large = std::get_if<std::uint64_t>(&value.data)) return fmt::format("{}", *large);
  if (const double* number = std::get_if<double>(&value.data)) return text_of(*number);
  if (const std::string* text = value.text()) return text_of(*text);
  return "null";
}

void write(const Value& value, std::size_t indent, bool in_list, std::string& out);

void write_after(const Value& value, std::size_t indent, std::string& out) {
  constexpr std::size_t line_length = 110;
  const std::string line = to_yaml_line(value);
  const bool is_scalar = !value.list() && !value.map();
  if (is_scalar || indent + line.size() <= line_length) {
    out += fmt::format(" {}\n", line);
  } else {
    out += "\n";
    write(value, indent, false, out);
  }
}

// `in_list`: the first line continues one that ends in "- ".
void write(const Value& value, std::size_t indent, bool in_list, std::string& out) {
  const std::string margin(indent, ' ');
  if (const Value::Map* map = value.map()) {
    bool first = in_list;
    for (const Entry& entry : *map) {
      out += fmt::format("{}{}:", first ? "" : margin, text_of(entry.key));
      first = false;
      write_after(entry.value, indent + 2, out);
    }
  } else if (const Value::List* list = value.list()) {
    for (const Value& element : *list) {
      out += margin + "-";
      const std::string line = to_yaml_line(element);
      if (element.map() && indent + line.size() > 108) {
        out += " ";
        write(element, indent + 2, true, out);
      } else {
        write_after(element, indent + 2, out);
      }
    }
  }
}

}  // namespace

Value parse_yaml(const std::string& text, const std::string& name) {
  VPD_CHECK(text.find('\0') == std::string::npos, ConfigError,
            "{}: expected a configuration in YAML, found a file that is no text", name);
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(text);
  } catch (const YAML::Exception& error) {
    const YAML::Mark& mark = error.mark;
    const std::string where = mark.line < 0 ? "" : fmt::format(":{}:{}", mark.line + 1, mark.column + 1);
    throw ConfigError(fmt::format("{}{}: expected YAML, found a syntax error ({})", name, where, error.msg));
  }
  VPD_CHECK(documents.size() <= 1, ConfigError, "{}: expected one YAML document, found {}", name,
            documents.size());
  if (documents.empty()) {
    Value nothing;
    nothing.origin = name;
    return nothing;
  }
  return Converter(name).convert(documents[0], "", 0);
}

std::string to_yaml_line(const Value& value) {
  std::string out;
  if (const Value::Map* map = value.map()) {
    for (const Entry& entry : *map) {
      out += fmt::format("{}{}: {}", out.empty() ? "{" : ", ", text_of(entry.key), to_yaml_line(entry.value));
    }
    return map->empty() ? "{}" : out + "}";
  }
  if (const Value::List* list = value.list()) {
    for (const Value& element : *list) {
      out += out.empty() ? "[" : ", ";
      out += to_yaml_line(element);
    }
    return list->empty() ? "[]" : out + "]";
  }
  return scalar(value);
}

std::string to_yaml(const Value& value) {
  const bool nests = (value.map() && !value.map()->empty()) || (value.list() && !value.list()->empty());
  if (!nests) return to_yaml_line(value) + "\n";
  std::string out;
  write(value, 0, false, out);
  return out;
}

}  // namespace vpd::config
