#pragma once

// What `vpd explain` decomposes, and how: chosen from the target's shapes and the time there is.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/config/run.hpp"
#include "vpd/run/explain.hpp"
#include "vpd/target/architecture.hpp"

namespace vpd {

/// Names of the files in the directory of an explanation.
inline constexpr const char* explain_config = "config.yaml";
inline constexpr const char* explain_prompts = "prompts.jsonl";
inline constexpr const char* explain_state = "explain.json";

/// Blocks [first, second) of `layers`, "12:24", or of an empty text the last ten. Throws UsageError.
std::pair<std::int64_t, std::int64_t> explained_layers(const std::string& layers, const Architecture& target);

struct ExplainPlan {
  TargetConfig target;
  std::pair<std::int64_t, std::int64_t> layers;
  std::int64_t longest = 1;                          ///< tokens of the longest row of the target stream
  std::int64_t rows = 0;                             ///< of the target stream
  std::optional<std::filesystem::path> tokenizer{};  ///< where it does not lie beside the target
  std::filesystem::path background;                  ///< tokens
  std::int64_t background_length = 0;
  std::int64_t steps = 0;
  std::uint64_t seed = 0;
  /// Every term from the first step on, with as many ascents as its attacks have in the mean.
  bool awake = false;
};

/// The configuration of the decomposition; `directory` is where its prompts lie.
RunConfig explain_configuration(const ExplainPlan& plan, const Architecture& target,
                                const std::filesystem::path& directory);

/// Steps that fit into the share of `minutes` that training may take. Throws UsageError where that is too
/// little for any.
std::int64_t explain_steps(double minutes, double step_seconds);

/// How much is measured of what was decomposed: more where the target is small beside the time there is.
struct MeasuringScale {
  std::int64_t graph_steps = 500;   ///< of pruning a graph
  std::size_t subcomponents = 64;   ///< that are taken out one by one
  std::int64_t positions = 20'000;  ///< of the background, for each of them
  std::int64_t removal_rows = 64;   ///< of the background, which removals are to leave as they are
  std::int64_t fit_steps = 100;     ///< of each baseline that is fitted
};
MeasuringScale measuring_scale(double minutes, std::size_t prompts, double step_seconds,
                               double operations_per_second, std::int64_t parameters,
                               std::int64_t row_length);

}  // namespace vpd
