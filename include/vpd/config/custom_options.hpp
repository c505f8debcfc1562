#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "vpd/config/scalar.hpp"

namespace vpd {

// The options of a kind that the library does not know, as its factory reads them. Each option is asked for
// by name; what was never asked for is refused afterwards, so that a misspelt one cannot pass unnoticed.
class CustomOptions {
 public:
  // `place`: where the options stand in the file, for messages ("causal_importance.options").
  CustomOptions(std::map<std::string, config::Scalar> options, std::string place);

  // Each throws ConfigError where the option has another type, or is absent and there is nothing to take in
  // its place. A whole number is also a number.
  double number(const std::string& key, std::optional<double> otherwise = std::nullopt);
  std::int64_t whole_number(const std::string& key, std::optional<std::int64_t> otherwise = std::nullopt);
  std::string text(const std::string& key, const std::optional<std::string>& otherwise = std::nullopt);
  bool flag(const std::string& key, std::optional<bool> otherwise = std::nullopt);

  // Throws ConfigError naming the first option that nobody asked for, and those that somebody did.
  void refuse_the_rest() const;

 private:
  const config::Scalar* find(const std::string& key, bool required, const char* expected);
  [[noreturn]] void refuse(const std::string& key, const char* expected, const config::Scalar& found) const;

  std::map<std::string, config::Scalar> options_;
  std::string place_;
  std::set<std::string> asked_;
};

}  // namespace vpd
