#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json.hpp>

#include "vpd/base/error.hpp"
#include "vpd/io/files.hpp"

namespace vpd {

/// The JSON object that a file holds. `cure` ends the message where it holds none, "; run vpd attention
/// again".
inline nlohmann::ordered_json json_object(const std::filesystem::path& path, std::string_view cure = "") {
  auto json = nlohmann::ordered_json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  VPD_CHECK(json.is_object(), DataError, "{}: expected a JSON object, found none{}", path.string(), cure);
  return json;
}

}  // namespace vpd
