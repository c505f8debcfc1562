#pragma once

#include <optional>
#include <string>

namespace vpd::config {

// How YAML would take the number that a text was most probably meant to be: "1000" for "1_000", "1,000" or
// "1k", "0.5" for "0,5" or "50%", "16" for "0X10". Nothing where it is no such number.
std::optional<std::string> plain_number(const std::string& text);

}  // namespace vpd::config
