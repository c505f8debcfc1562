#pragma once

#include <string_view>

namespace vpd {

// Version of the library, for example "0.1.0".
std::string_view version();

// Git revision that the library was built from: 40 hexadecimal digits, followed by "-modified" where tracked
// files differed from it; "unknown" when it was not built from a git checkout.
std::string_view git_revision();

}  // namespace vpd
