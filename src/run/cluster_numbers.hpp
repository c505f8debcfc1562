#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "vpd/decomposition/opened_run.hpp"

namespace vpd {

/// The cluster of each subcomponent by its key, as `vpd cluster` left them for a checkpoint; nothing where it
/// has not run. A key that stands in two clusters counts with the first. `weights`: the checkpoint's hashes,
/// where the caller has them. Throws DataError where what it left is damaged or of other weights.
std::optional<std::map<std::string, std::int64_t>> cluster_numbers(
    const OpenedRun& run, const nlohmann::ordered_json* weights = nullptr);

}  // namespace vpd
