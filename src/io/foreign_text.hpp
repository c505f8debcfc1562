#pragma once

#include <string>
#include <string_view>

namespace vpd {

// Text out of a file that somebody else made, fit for one line of a message: in quotes, at most 120 bytes of
// it, control characters (which could write over what a terminal shows) as \xNN, U+FFFD for what is no UTF-8.
std::string quote_foreign(std::string_view text);

}  // namespace vpd
