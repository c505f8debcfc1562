#pragma once

#include <cstdint>
#include <string>

#include "vpd/decomposition/sites.hpp"

namespace vpd {

/// The subcomponent of a column among the Σ C of all sites. Throws std::out_of_range for a column that is not
/// there.
SubcomponentId subcomponent_at(std::int64_t column, const Sites& sites);
/// "site:c" of that column.
std::string key_of_column(std::int64_t column, const Sites& sites);

}  // namespace vpd
