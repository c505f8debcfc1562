#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vpd/base/observer.hpp"
#include "vpd/interpretation/interactions.hpp"
#include "vpd/run/reading_forecast.hpp"
#include "vpd/run/rows_to_read.hpp"
#include "vpd/run/run_to_edit.hpp"

namespace vpd {

struct InteractionOptions : RunToEdit {
  std::string site{};  ///< a pattern; nothing: every site that feeds an elementwise function
  RowsToRead rows{};
  double threshold = 0.1;         ///< a subcomponent fires where its importance is above
  bool curvature = false;         ///< weigh neurons by the second derivative of the function, too
  std::string order = "columns";  ///< of rows and columns: or "clusters"
  std::int64_t most = 10;         ///< pairs that are shown
  std::string command_line{};
};

/// Two subcomponents, by their numbers among rows and columns.
struct InteractingPair {
  std::int64_t row = 0, column = 0;
  double strength = 0.0;
};

/// One matrix of interactions: subcomponents of a site that fired with each other, or those of a gate with
/// those of what it gates.
struct InteractionTable {
  std::string rows_site, columns_site;
  bool square() const { return rows_site == columns_site; }
  std::vector<std::int64_t> rows, columns;                ///< subcomponents, in the order of the tensors
  std::vector<std::string> row_keys, column_keys;         ///< "site:c"
  std::vector<std::string> row_labels, column_labels;     ///< or empty
  std::vector<std::int64_t> row_firings, column_firings;  ///< positions where they fire
  Interactions interactions;                              ///< float64 [rows, columns]
  std::int64_t few = 0;  ///< rows that fire at fewer than few_firings positions: what follows leaves them out
  std::int64_t pairs = 0;                                   ///< off the diagonal
  double mean = 0.0, above_tenth = 0.0, above_one = 0.0;    ///< of their strengths; shares
  std::vector<std::int64_t> histogram;                      ///< of their strengths: interaction_bins()
  std::vector<double> row_stripes, column_stripes;          ///< sums of strengths off the diagonal
  double row_stripe = 0.0, column_stripe = 0.0;             ///< the largest one's share of all
  std::optional<double> inside_clusters, pairs_in_cluster;  ///< shares of strength, and of pairs
  std::vector<InteractingPair> strongest;                   ///< falling
};

struct InteractionResult {
  std::int64_t step = 0;
  std::int64_t positions = 0;
  std::string order;  ///< of rows and columns
  std::vector<InteractionTable> tables;
  std::int64_t most = 10;
  std::filesystem::path directory;
  double seconds = 0.0;
  std::vector<std::string> warnings;
};

/// Upper edges of the histogram's bins: 0, and half decades from 1e-6 on; the last bin has no upper edge.
std::vector<double> interaction_bins();

/// A row that fires less often has figures that a few positions decide.
inline constexpr std::int64_t few_firings = 10;

/// How subcomponents of MLPs' first matrices share neurons. Throws ConfigError, DataError, UsageError, and
/// Interrupted.
InteractionResult interactions_run(const InteractionOptions& options, const Observer& observer = {});

/// What that would take, from its first batches; writes nothing.
ReadingForecast forecast_interactions(const InteractionOptions& options, const Observer& observer = {});

std::string interactions_text(const InteractionResult& result);
std::string interactions_json(const InteractionResult& result);

}  // namespace vpd
