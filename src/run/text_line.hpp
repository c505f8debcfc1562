#pragma once

#include <string>
#include <string_view>

#include <spdlog/fmt/fmt.h>

namespace vpd {

/// A line of what a command says: what it is about, and the value behind it.
inline std::string text_line(std::string_view name, std::string_view value) {
  return fmt::format("{:<12} {}\n", name, value);
}

}  // namespace vpd
