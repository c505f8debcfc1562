#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "vpd/config/run.hpp"

namespace vpd {

/// The target that lies in a directory, as a configuration would name it: by its model_config, or by
/// config.json, Hugging Face's layout. Throws DataError where it has neither.
TargetConfig target_in(const std::filesystem::path& directory);

const std::filesystem::path& directory_of(const TargetConfig& target);

/// The token that rows begin with, as the target's own files say: `bos_token_id` of config.json. Nothing
/// where they say none. Throws DataError for one that is no token of `vocabulary`.
std::optional<std::int64_t> start_token_of(const TargetConfig& target, std::int64_t vocabulary);

}  // namespace vpd
