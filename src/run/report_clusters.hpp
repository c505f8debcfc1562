#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "vpd/io/run_directory.hpp"

namespace vpd {

/// What `vpd cluster` found: clusters.json with the curve of its merges and its settings; null where there is
/// nothing. Throws DataError for files that are damaged.
nlohmann::ordered_json clusters_of(const RunDirectory& run, std::int64_t step);

}  // namespace vpd
