#pragma once

#include <string>

namespace vpd {

/// How this program was called, quoted so that a shell would call it so again.
std::string command_line();

}  // namespace vpd
