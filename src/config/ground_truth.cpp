#include "vpd/config/ground_truth.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> DenseCiErrorMetric::validate() const {
  if (sites.empty()) return config::Complaint{"sites", "expected at least one pattern, found none"};
  for (const auto& [pattern, count] : sites) {
    if (count < 1)
      return config::Complaint{
          "sites", fmt::format("expected at least 1 subcomponent for \"{}\", found {}", pattern, count)};
  }
  return std::nullopt;
}

}  // namespace vpd
