#pragma once

#include <filesystem>
#include <string>

namespace vpd {

/// What a sentence says was found at a path where nothing is: `nothing`, or what keeps this process from
/// looking there: "that /a may not be entered (Permission denied): …", "a link to /b, where nothing is".
std::string found_instead(const std::filesystem::path& path, std::string nothing);

}  // namespace vpd
