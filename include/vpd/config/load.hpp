#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace vpd::config {

struct Type;
struct Value;

// Whether a path that leads nowhere is an error. A run directory made elsewhere still names its data and its
// start.
enum class Files { must_exist, may_be_missing };

// The value of a file after its overrides, accepted as a `type`. Throws ConfigError.
Value load(const std::filesystem::path& path, const std::vector<std::string>& overrides, const Type& type,
           Files files);

}  // namespace vpd::config
