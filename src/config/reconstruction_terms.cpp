#include "vpd/config/reconstruction_terms.hpp"

#include <spdlog/fmt/fmt.h>

namespace vpd {

std::optional<config::Complaint> MergedMasksConfig::validate() const {
  const double last = adversarial_fraction.largest();
  if (last <= 1.0) return std::nullopt;
  return config::Complaint{
      adversarial_fraction.points.empty() ? "adversarial_fraction.final_fraction"
                                          : "adversarial_fraction.points",
      fmt::format("expected a schedule that stays within 0 and 1, found one that reaches {:g}", last)};
}

}  // namespace vpd
