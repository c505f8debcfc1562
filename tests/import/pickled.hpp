#pragma once

#include <cstdint>
#include <string>

#include "zip_files.hpp"

// Values as pickle writes them, without the frame around them.

namespace vpd::testing {

inline std::string pickled_text(const std::string& content) {
  return "X" + little_endian(static_cast<std::uint32_t>(content.size())) + content;
}

inline std::string pickled_number(std::int64_t value) { return "\x8a\x08" + little_endian(value); }

}  // namespace vpd::testing
