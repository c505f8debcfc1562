#include "vpd/config/synthetic.hpp"

#include <spdlog/fmt/fmt.h>

#include "vpd/config/common.hpp"

namespace vpd {

std::optional<config::Complaint> SparseFeaturesData::validate() const {
  if (range.size() != 2 || range[0] >= range[1]) {
    return config::Complaint{"range", fmt::format("expected two numbers, the lower one first, found [{}]",
                                                  fmt::join(range, ", "))};
  }
  for (std::size_t i = 0; i < only.size(); ++i) {
    if (only[i] >= 0 && (i == 0 || only[i] > only[i - 1])) continue;
    return config::Complaint{"only", fmt::format("expected features from 0 on in rising order, found [{}]",
                                                 fmt::join(only, ", "))};
  }
  const bool independent = generation == Generation::at_least_zero_active;
  if (independent && !probability) {
    return config::Complaint{"probability",
                             "expected a number from 0 to 1 for at_least_zero_active, found none"};
  }
  if (!independent && probability) {
    return config::Complaint{
        "probability",
        fmt::format("expected none for rows with a fixed number of active features, found {}", *probability)};
  }
  return std::nullopt;
}

std::int64_t row_length(const DataSource& source) {
  if (const auto* tokens = std::get_if<TokensData>(&source)) return tokens->sequence_length;
  if (const auto* induction = std::get_if<InductionData>(&source)) return induction->sequence_length;
  if (const auto* prompts = std::get_if<PromptsData>(&source)) return prompts->sequence_length;
  return 1;
}

ComparedPositions compared_positions(const DataSource& source) {
  const auto* prompts = std::get_if<PromptsData>(&source);
  return prompts ? prompts->positions : ComparedPositions::all;
}

}  // namespace vpd
