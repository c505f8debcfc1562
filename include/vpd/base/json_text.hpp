#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace vpd {

/// JSON as text, indented by that many columns, or on one line (-1). Texts in it that are no UTF-8, such as
/// names of files may be, come out with U+FFFD in place of what is none: dump() would throw.
template <class Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace vpd
