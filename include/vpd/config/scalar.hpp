#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace vpd::config {

// A value whose type the file decides: true or false, a whole number, a number, or text. For options that the
// library hands on to somebody else's code.
struct Scalar {
  std::variant<bool, std::int64_t, double, std::string> data = false;

  Scalar() = default;
  explicit Scalar(bool value) : data(value) {}
  explicit Scalar(std::int64_t value) : data(value) {}
  explicit Scalar(double value) : data(value) {}
  explicit Scalar(std::string value) : data(std::move(value)) {}

  bool operator==(const Scalar&) const = default;
};

}  // namespace vpd::config
