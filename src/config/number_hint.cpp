#include "number_hint.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <regex>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "vpd/base/error.hpp"
#include "vpd/config/value.hpp"

namespace vpd::config {
namespace {

std::string without(std::string text, std::string_view characters) {
  std::erase_if(text, [&](char c) { return characters.find(c) != std::string_view::npos; });
  return text;
}

bool is_number(const std::string& text) {
  try {
    const Value value = parse_yaml(text, "");
    return std::holds_alternative<std::int64_t>(value.data) || std::holds_alternative<double>(value.data);
  } catch (const ConfigError&) {
    return false;
  }
}

// The product of a plain number and a factor, in the fewest digits.
std::string scaled(const std::string& text, double factor) {
  const double product = std::strtod(text.c_str(), nullptr) * factor;
  return std::trunc(product) == product && std::abs(product) < 0x1p63 ? fmt::format("{:.0f}", product)
                                                                      : fmt::format("{}", product);
}

std::optional<std::string> of_other_base(const std::string& text) {
  static const std::regex prefixed("0([xXoObB])([0-9a-fA-F]+)");
  std::smatch found;
  if (!std::regex_match(text, found, prefixed)) return std::nullopt;
  const char kind = static_cast<char>(std::tolower(found.str(1)[0]));
  const std::string digits = found.str(2);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value,
                                            kind == 'x'   ? 16
                                            : kind == 'o' ? 8
                                                          : 2);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return std::to_string(value);
}

std::optional<std::string> with_unit(const std::string& text) {
  if (text.size() < 2) return std::nullopt;
  double factor = 0.0;
  switch (text.back()) {
    case 'k':
    case 'K':
      factor = 1e3;
      break;
    case 'm':
    case 'M':
      factor = 1e6;
      break;
    case 'g':
    case 'G':
    case 'b':
    case 'B':
      factor = 1e9;
      break;
    case '%':
      factor = 0.01;
      break;
    default:
      return std::nullopt;
  }
  std::string number = text.substr(0, text.size() - 1);
  while (number.ends_with(' ')) number.pop_back();
  return is_number(number) ? std::optional(scaled(number, factor)) : std::nullopt;
}

// Thousands are set apart by commas, or a comma stands for the point.
std::optional<std::string> with_comma(const std::string& text) {
  static const std::regex grouped("[-+]?[0-9]{1,3}(,[0-9]{3})+([.][0-9]*)?");
  if (std::regex_match(text, grouped)) return without(text, ",");
  if (std::count(text.begin(), text.end(), ',') != 1) return std::nullopt;
  std::string number = text;
  std::replace(number.begin(), number.end(), ',', '.');
  return number;
}

}  // namespace

std::optional<std::string> plain_number(const std::string& text) {
  // Nothing that is longer was meant to be a number, and parse_yaml takes what it is given for a document.
  constexpr std::size_t longest = 40;
  const std::string characters = "0123456789abcdefxoABCDEFXOkKmMgG+-._, '%";
  if (text.size() > longest || text.find_first_not_of(characters) != std::string::npos ||
      text.find_first_of("0123456789") == std::string::npos) {
    return std::nullopt;
  }
  const std::string closed = without(text, "_ '");
  if (closed != text && is_number(closed)) return closed;
  if (const auto number = of_other_base(closed)) return number;
  if (const auto number = with_unit(closed)) return number;
  if (const auto number = with_comma(closed); number && is_number(*number)) return number;
  return std::nullopt;
}

}  // namespace vpd::config
