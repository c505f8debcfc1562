#include <spdlog/fmt/fmt.h>

#include "vpd/config/objective.hpp"

namespace vpd {
namespace {

config::Complaint useless(const char* key, const char* penalty) {
  return {key, fmt::format("expected none beside penalty {}, found a value that only penalty power has a use "
                           "for",
                           penalty)};
}

}  // namespace

std::optional<config::Complaint> ImportanceMinimalityTerm::validate() const {
  if (std::holds_alternative<PowerPenaltyConfig>(penalty)) return std::nullopt;
  const ImportanceMinimalityTerm defaults;
  if (p != defaults.p) return useless("p", "smooth_l0");
  if (eps != defaults.eps) return useless("eps", "smooth_l0");
  return std::nullopt;
}

std::optional<config::Complaint> validate_frequency(const FrequencyMinimalityTerm& term,
                                                    const ObjectiveConfig& objective) {
  const ImportanceMinimalityTerm* importance = nullptr;
  for (const TermConfig& other : objective) {
    const auto* found = std::get_if<ImportanceMinimalityTerm>(&other);
    if (found && found->rows == term.rows) importance = found;
  }
  const PenaltyConfig penalty =
      term.penalty.value_or(importance ? importance->penalty : PowerPenaltyConfig{});
  if (!std::holds_alternative<PowerPenaltyConfig>(penalty)) {
    if (term.p) return useless("p", "smooth_l0");
    if (term.eps) return useless("eps", "smooth_l0");
    return std::nullopt;
  }
  const bool lends = importance && std::holds_alternative<PowerPenaltyConfig>(importance->penalty);
  if ((term.p && term.eps) || lends) return std::nullopt;
  return config::Complaint{
      term.p ? "eps" : "p",
      fmt::format("expected a value where no importance_minimality {}lends its own, found none",
                  importance ? "with penalty power " : "")};
}

}  // namespace vpd
