#pragma once

#include <string>
#include <string_view>

namespace vpd {

/// Text as zlib packs it, in base64: what a browser's DecompressionStream("deflate") opens.
std::string packed(std::string_view text);

/// JSON as it may stand inside a script element: no "<" that could end it, no line separators.
std::string script_safe(std::string_view json);

}  // namespace vpd
