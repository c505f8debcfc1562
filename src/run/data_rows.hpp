#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "vpd/base/observer.hpp"
#include "vpd/decomposition/opened_run.hpp"

namespace vpd {

/// What an about.json says of the files that a run's rows of a split (eval, train) come from, in their order:
/// [{path, sha256}, ...].
nlohmann::ordered_json hashes_of_rows(const OpenedRun& run, const std::string& split,
                                      const Observer& observer);

}  // namespace vpd
