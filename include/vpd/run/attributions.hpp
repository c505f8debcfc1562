#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/dataset_attributions.hpp"
#include "vpd/run/reading_forecast.hpp"
#include "vpd/run/rows_to_read.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct AttributionOptions : RunToEdit {
  RowsToRead rows{};
  DatasetAttributionSettings settings{};
  std::int64_t top = 64;              ///< sources that are kept of a target, of subcomponents and of tokens
  bool full = false;                  ///< keep all sums, too
  std::int64_t most = 20;             ///< edges that are shown
  std::vector<std::string> tokens{};  ///< whose logits are explained: " her" or "#5"
  std::string slug{};                 ///< the result's name; nothing: the rule's
  std::string command_line{};
};

/// One edge. Sources from Σ C on are tokens of the embedding.
struct AttributionEdge {
  std::int64_t source = 0, target = 0;
  double sum = 0.0, normalised = 0.0, absolute = 0.0;
};

/// Who feeds the logit of a token.
struct TokenSources {
  std::int64_t token = 0;
  std::string text;
  std::vector<AttributionEdge> edges;  ///< `target` is the token
};

struct AttributionResult {
  std::int64_t step = 0;
  std::int64_t positions = 0;
  bool complete = false, absolute = false;
  std::size_t wires = 0,
              backward = 0;  ///< pairs of sites that feed each other; those summed by backward passes
  std::vector<AttributionEdge> edges;      ///< by target; of each the kept sources, the strongest first
  std::vector<AttributionEdge> strongest;  ///< between subcomponents
  std::vector<TokenSources> tokens;
  std::int64_t most = 20;
  std::int64_t total_C = 0;
  std::vector<std::string> keys, labels;  ///< of each column of Σ C
  std::vector<std::string> token_texts;   ///< of tokens that edges name, by number; else empty
  std::filesystem::path directory;
  double seconds = 0.0;
  std::vector<std::string> warnings;

  /// "site:c", or a token.
  std::string name(std::int64_t source) const;
};

/// Sums edges of prompts' graphs over data. Throws ConfigError, DataError, UsageError, and Interrupted.
AttributionResult attributions_run(const AttributionOptions& options, const Observer& observer = {});

/// What that would take, from its first batches; writes nothing.
ReadingForecast forecast_attributions(const AttributionOptions& options, const Observer& observer = {});

std::string attributions_text(const AttributionResult& result);
std::string attributions_json(const AttributionResult& result);

/// What published edges are, in one sentence, or complete ones.
std::string attribution_caveat(bool complete);

}  // namespace vpd
