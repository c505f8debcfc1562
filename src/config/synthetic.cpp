#include "vpd/config/synthetic.hpp"

#include <spdlog/fmt/fmt.h>

#include "vpd/config/common.hpp"

namespace vpd {

std::optional<config::Complaint> SparseFeaturesData::validate() const {
  if (range.size() != 2 || range[0] >= range[1]) {
    return config::Complaint{"range", fmt::format("expected two numbers, the lower one first, found [{}]",
                                                  fmt::join(range, ", "))};
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
  return 1;
}

}  // namespace vpd
