#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "vpd/base/observer.hpp"
#include "vpd/io/run_directory.hpp"
#include "vpd/run/report.hpp"
#include "vpd/run/run_choice.hpp"

namespace vpd {

/// What the page shows (docs/report.md). Texts of it are foreign: the page puts them out as text alone.
struct ReportData {
  nlohmann::ordered_json meta;  ///< the run, its curves, sites and verdicts
  nlohmann::ordered_json
      index;  ///< a column for each fact of all alive subcomponents; null without a harvest
  std::vector<std::string> chunks;  ///< JSON: the details of some subcomponents each, in the index's order
  std::int64_t subcomponents = 0;
  std::vector<std::string> missing, warnings;
};

/// `all_examples`: every example that is kept, and smaller chunks.
ReportData report_data(const ReportOptions& options, bool all_examples, const Observer& observer);

/// Everything of the page that comes from a harvest: its share of `meta`, the index and the chunks.
void add_harvest(const OpenedEvidence& opened, bool all_examples, ReportData& data);

/// The blocks whose attention `vpd attention` has read, with the prompts of each.
nlohmann::ordered_json attention_of(const RunDirectory& run, std::int64_t step);

/// A number with as many digits as a page shows.
double rounded(double x, int digits = 4);

/// Two runs' subcomponents, matched: {sites: [...], pairs: [...]}; for what one of them lacks, a warning.
nlohmann::ordered_json compare_runs(const ReportOptions& options, std::vector<std::string>& warnings,
                                    const Observer& observer);

/// The curves of metrics.jsonl, at most `points` points each: {name: [[step, value], ...]}.
nlohmann::ordered_json curves_of(const std::filesystem::path& run, std::size_t points);

}  // namespace vpd
