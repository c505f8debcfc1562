#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "edit_source.hpp"
#include "planned_pass.hpp"
#include "vpd/run/attention.hpp"

namespace vpd {

/// Throws UsageError for options that no run could be read with.
void check_attention_options(const AttentionOptions& options);

/// A pair of a head as tables show it.
struct ShownPair {
  std::int64_t query = 0, key = 0;  ///< terms
  double share = 0.0;               ///< within queries
  double share_of_all = 0.0;
  std::int64_t offset = 0;  ///< at which its mean is largest, by absolute value
  double mean = 0.0;        ///< there
  std::optional<std::pair<double, std::int64_t>>
      statics{};           ///< the strongest static interaction, in standard deviations, and its offset
  double both_mean = 0.0;  ///< of two subcomponents
  std::int64_t both_count = 0;
};
/// The pairs of a head with the largest shares within queries by absolute value, as many as the result shows.
std::vector<ShownPair> strongest_pairs(const AttentionResult& result, std::int64_t head);

/// Shares within queries by kinds of pairs: two subcomponents, and each kind of other term with
/// anything (those of two kinds count for the first of delta, rest, bias, position).
std::vector<std::pair<std::string, double>> shares_by_kind(const AttentionResult& result, std::int64_t head);

/// The subcomponents of a site that are alive and most aligned with a head, by `alignment` [C], the largest
/// first.
std::vector<std::pair<std::int64_t, double>> most_aligned(const AttentionResult& result,
                                                          const at::Tensor& alignment, std::size_t site,
                                                          std::size_t most);

/// Writes the directory of the result. Prompts that an earlier command left there stay, as long as they are
/// of the same weights.
void write_attention(const AttentionResult& result, const AttentionOptions& options, const EditSource& source,
                     const nlohmann::ordered_json& tokens);

}  // namespace vpd
