#include "vpd/decomposition/columns.hpp"

#include <stdexcept>

namespace vpd {

SubcomponentId subcomponent_at(std::int64_t column, const Sites& sites) {
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const std::int64_t c = column - sites[i].offset;
    if (c >= 0 && c < sites[i].C) return {i, c};
  }
  throw std::out_of_range("no subcomponent has column " + std::to_string(column));
}

std::string key_of_column(std::int64_t column, const Sites& sites) {
  return to_text(subcomponent_at(column, sites), sites);
}

}  // namespace vpd
