#pragma once

#include <exception>
#include <string>

#include <c10/util/Exception.h>

namespace vpd {

/// LibTorch's messages go on for pages.
inline std::string first_line(const std::exception& error) {
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  const std::string text = torch ? torch->what_without_backtrace() : error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace vpd
