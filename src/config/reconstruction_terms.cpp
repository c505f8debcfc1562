#include "vpd/config/reconstruction_terms.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> MergedMasksConfig::validate() const {
  const double last = adversarial_fraction.start * adversarial_fraction.final_fraction.value_or(1.0);
  if (last <= 1.0) return std::nullopt;
  return config::Complaint{
      "adversarial_fraction.final_fraction",
      fmt::format("expected a schedule that stays within 0 and 1, found one that ends at {:g}", last)};
}

}  // namespace vpd
